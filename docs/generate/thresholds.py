"""The page about thresholds from folds: what is promised, what comes of it, and what it costs elsewhere."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import Page, markdown

PAPERS = "piped_paper"
FIVE, TWENTY = "one whitening, factor model in 5 folds", "one whitening, factor model in 20"
TEXT = """
`python -m studies.fold_thresholds`: r-u, frozen encoder, ImageNet weights, 256 px (papers of PIPED: 128 px, the mean of
all that were measured). Encoder, latent and prior are the same in every row: only what measures the photographs that a
fold leaves out differs, so scales and thresholds do.

- **Recall** is at a false alarm rate of 5 % or 1 % that was asked for, in brackets the rate on the good test
  photographs. **At true 5 %** is the recall of the lowest threshold that 5 % of the good test photographs reach: it is
  taken from the test, for comparison alone.
- **Shift** says how much higher the two parts of the score are on left out photographs than on good ones of the test,
  in standard deviations of those: 0 is right, above it the threshold is too high.
- **Masks** is the share of good test photographs with anything in their mask; 10 % is asked for.
- With fewer than 99 photographs 1 % cannot be had: the threshold is the highest score, as it is at 5 % with fewer
  than 39.
- **Chosen** is the second row ([decision 0023](../decisions/0023-thresholds-from-folds.md)). Recall was seen when
  that was decided, so its gain leans optimistic.
"""
HEAD = (
    "",
    "AUROC, image / pixel",
    "AUPRO",
    "recall at 5 %",
    "at 1 %",
    "at true 5 %",
    "masks",
    "shift, local / factors",
)


def thresholds() -> Page:
    """The page of studies.fold_thresholds."""
    rows = read_result("fold_thresholds")["tested"]
    sets = list(dict.fromkeys((row["encoder"], set_of(row)) for row in rows))
    found = {way: [_mean(_of(rows, key, way), "realised_0.05") for key in sets] for way in (FIVE, TWENTY)}
    recall = {way: mean(_mean(_of(rows, key, way), "recall_0.05") for key in sets) for way in (FIVE, TWENTY)}
    return Page(
        "Thresholds from folds",
        "What comes of a threshold that promises 5 % false alarms, and what does it cost in recall?",
        f"With the factor model in five folds, as the mixture, {_range(found[FIVE])} of good test photographs are "
        f"predicted anomalous, with it in twenty {_range(found[TWENTY])}. Mean recall over {len(sets)} pairs "
        f"of set and encoder goes from {recall[FIVE]:.3f} to {recall[TWENTY]:.3f}.",
        (f"## By set\n{TEXT}", *(_table(rows, key) for key in sets)),
    )


def set_of(row: dict[str, Any]) -> str:
    """The folder of a row: the papers are one set."""
    return PAPERS if row["data"].startswith(PAPERS) else str(row["data"])


def _of(rows: Sequence[dict[str, Any]], key: tuple[str, str], way: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["encoder"], set_of(row)) == key and row["way"] == way]


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return mean(row[key] for row in rows)


def _range(rates: Iterable[float]) -> str:
    low, high = min(rates := list(rates)), max(rates)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _table(rows: Sequence[dict[str, Any]], key: tuple[str, str]) -> str:
    lines = []
    for way in dict.fromkeys(row["way"] for row in rows):
        found = _of(rows, key, way)
        if found:
            lines.append([way, *_cells(found)])
    first = _of(rows, key, FIVE)
    seeds = ", ".join(map(str, sorted({row["seed"] for row in first})))
    of = f", mean of {len({row['data'] for row in first})} papers" if key[1] == PAPERS else ""
    return f"### {key[1]}, {key[0]}{of}, seeds {seeds}\n\n{markdown(HEAD, lines)}"


def _cells(rows: Sequence[dict[str, Any]]) -> Iterable[str]:
    image, pixel, aupro = (
        f"{_mean(rows, key):.4f}" if key in rows[0] else "-" for key in ("image_auroc", "pixel_auroc", "pixel_aupro")
    )
    yield f"{image} / {pixel}"
    yield aupro
    for rate in ("0.05", "0.01"):
        yield f"{_mean(rows, f'recall_{rate}'):.3f} ({_mean(rows, f'realised_{rate}'):.3f})"
    yield f"{_mean(rows, 'recall_at_true_0.05'):.3f}"
    yield f"{_mean(rows, 'mask_realised'):.3f}"
    yield f"{_mean(rows, 'local_shift'):.2f} / {_mean(rows, 'flat_shift'):.2f}"
