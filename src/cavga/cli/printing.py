"""The tables that commands print."""

from collections.abc import Mapping
from typing import Any


def table_line(name: str, metrics: dict[str, Any] | None) -> str:
    """One line of the summary table, or its head if `metrics` is None."""
    from cavga.metrics.registry import CONSOLE, shown_in

    cells = [f"{name:<12}"]
    for metric in shown_in(CONSOLE):
        value = metric.title if metrics is None else metric.of(metrics)
        text = value if isinstance(value, str) else "-" if value is None else f"{value:.3f}"
        cells.append(f"{text:>{max(len(metric.title), 7) + 2}}")
    return "".join(cells)


def left_out_lines(counts: Mapping[str, int | None]) -> list[str]:
    """Why an evaluation has fewer images than the data, and no figure where good or bad ones are missing."""
    lines = []
    if counts["excluded"]:
        lines.append(f"{counts['excluded']} of the labelled images are left out: training or the thresholds used them")
    missing = [word for word, key in (("good", "test_normal"), ("bad", "test_anomalous")) if not counts[key]]
    lines += [f"no {word} images are left to test: what needs them is shown as -" for word in missing]
    return lines


def self_test_lines(result: dict[str, Any]) -> list[str]:
    """What a self-test found, as a short table."""
    lines = [result["meaning"], f"{'':<16}{'found':>12}{'share':>8}   95 % interval"]
    for part, name in (("by_kind", ""), ("by_size", "size "), ("by_contrast", "contrast ")):
        lines += [_share_line(f"{name}{key}", share) for key, share in result[part].items()]
    lines += [_share_line("all", result["found"]), _share_line("false alarms", result["false_alarms"])]
    figures = [(name, result[name]["auroc"]) for name in ("image", "pixel")]
    lines.append(", ".join(f"{name} AUROC {'-' if value is None else f'{value:.3f}'}" for name, value in figures))
    return [*lines, f"warning: {result['warning']}"] if result["warning"] else lines


def _share_line(name: str, share: dict[str, Any]) -> str:
    line = f"{name:<16}{share['called']:>5} of {share['count']:>3}"
    if share["rate"] is None:
        return f"{line}{'-':>8}"
    low, high = share["interval"]
    return f"{line}{share['rate']:>8.0%}   {low:.0%} to {high:.0%}"


def comparison_lines(result: dict[str, Any]) -> list[str]:
    """What a comparison found, as a table."""
    images = result["images"]
    lines = [
        f"A: {result['a']}",
        f"B: {result['b']}",
        f"{images['common']} images in both: {images['normal']} good, {images['anomalous']} anomalous; not used: "
        f"{images['only_in_a']} that only A has, {images['only_in_b']} that only B has",
        f"{'':<24}{'A':>8}{'B':>8}{'B - A':>9}   95 % interval",
    ]
    for name, found in result["metrics"].items():
        low, high = found["interval"]
        lines.append(
            f"{_shown(name):<24}{found['a']:>8.3f}{found['b']:>8.3f}{found['difference']:>+9.3f}   "
            f"{f'{low:+.3f} to {high:+.3f}':<18}  {found['verdict']}"
        )
    by_reason: dict[str, list[str]] = {}
    for name, reason in result["not_available"].items():
        by_reason.setdefault(reason, []).append(_shown(name))
    lines += [f"{', '.join(names)}: not available: {reason}" for reason, names in by_reason.items()]
    lines += [f"warning: {result['warning']}"] if result["warning"] else []
    return [*lines, result["verdict"]]


def _shown(name: str) -> str:
    return name.replace("_", " ").replace("auroc", "AUROC").replace("iou", "IoU")
