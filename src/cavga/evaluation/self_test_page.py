"""self_test.html: what the model finds of synthetic anomalies, in tables, and which it misses, in pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cavga.rendering.charts import score_histogram
from cavga.rendering.html import NOT_COMPUTABLE, Case, fact_line, fact_table, gallery, note_list, table, write_page

SOURCES = {
    "test": "good test images",
    "calibration": "images that set the threshold",
    "unseen": "good images that the run has not seen",
    "train": "good images that the run learnt from",
}


def write_self_test_page(
    path: Path, name: str, result: Mapping[str, Any], scores: Sequence[tuple[float, int | None]], cases: Sequence[Case]
) -> None:
    """Write the page of one self-test; `scores` are (score, 0 untouched or 1 made) of every image."""
    found, alarms, counts = result["found"], result["false_alarms"], result["counts"]
    histogram = score_histogram(scores, found["threshold"], names={0: "untouched", 1: "with a synthetic anomaly"})
    plot = f'<figure class="plot"><figcaption>Scores of the images</figcaption>{histogram}</figure>'
    by_strength = _shares(result, "by_size", "By size, a share of the side") + _shares(
        result, "by_contrast", "By contrast"
    )
    untouched = (
        f"of <b>{alarms['count']}</b> untouched {SOURCES[result['settings']['good_images']]} "
        f"<b>{alarms['called']}</b> were predicted anomalous"
        if alarms["count"]
        else f"they were made on <b>{counts['good']}</b> {SOURCES[result['settings']['good_images']]}"
    )
    shown = f"{len(cases)} of {found['count']} synthetic anomalies, missed ones first"
    body = (
        f'<section><p class="verdict">Of <b>{found["count"]}</b> synthetic anomalies '
        f"<b>{found['called']}</b> were found; "
        f"{untouched}.</p>"
        f'<p class="verdict missed">{escape(_sentence(result["meaning"]))}</p>'
        f"{fact_line('Images', counts)}"
        f'<div class="columns"><div>{_shares(result, "by_kind", "By kind")}{_figures(result)}</div>'
        f"<div>{by_strength}{plot}</div></div>"
        f"{note_list(_notes_of(result))}"
        f"{gallery(shown, cases)}"
        f"{fact_table('Provenance', result['provenance'])}</section>\n"
    )
    write_page(path, f"cavga: self-test of {name}", "", body)


def _shares(result: Mapping[str, Any], key: str, title: str) -> str:
    anomaly_types = result["settings"]["kinds"]
    rows = [
        f'<tr><th scope="row">{escape(name)}<span class="hint">{escape(anomaly_types.get(name, ""))}</span></th>'
        f"<td>{share['called']} of {share['count']}</td><td>{_percent(share)}</td></tr>"
        for name, share in result[key].items()
    ]
    return table(title, ("", "found", "share"), rows)


def _figures(result: Mapping[str, Any]) -> str:
    image, pixel = result["image"], result["pixel"]
    interval = image["interval"]
    rows = [
        ("Found", "at the model's own image threshold", _percent(result["found"])),
        ("False alarm rate", "untouched images predicted anomalous", _percent(result["false_alarms"])),
        (
            "Image AUROC",
            "how often an image with a synthetic anomaly scores above an untouched one",
            _number(image["auroc"]) + (_hint(f"95%: {interval[0]:.3f}–{interval[1]:.3f}") if interval else ""),
        ),
        ("Pixel AUROC", "how often a changed pixel lies above an untouched one", _number(pixel["auroc"])),
    ]
    return table(
        "All together",
        ("", "value"),
        [f'<tr><th scope="row">{name}{_hint(meaning)}</th><td>{value}</td></tr>' for name, meaning, value in rows],
    )


def _percent(share: Mapping[str, Any]) -> str:
    if share["rate"] is None:
        return NOT_COMPUTABLE
    low, high = share["interval"]
    return f"{share['rate']:.0%}{_hint(f'95%: {low:.0%}–{high:.0%}')}"


def _number(value: float | None) -> str:
    return NOT_COMPUTABLE if value is None else f"{value:.3f}"


def _hint(text: str) -> str:
    return f'<span class="hint">{text}</span>'


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _notes_of(result: Mapping[str, Any]) -> list[str]:
    settings, counts = result["settings"], result["counts"]
    notes = [
        *([_sentence(result["warning"])] if result["warning"] else []),
        f"Every one of the {counts['good']} {SOURCES[settings['good_images']]} got {counts['made_per_good']} "
        "synthetic anomalies; the intervals count them as independent, which those on one image are not quite.",
        "Size: diameter of the anomaly as a share of the image's side. Contrast: peak change of brightness in standard "
        "deviations of the grey levels round it; how far the surface is bent or turned (contrast 2: 45 degrees); how "
        "much of a part is missing (from 2 on all of it).",
    ]
    if counts["found_on_false_alarms"]:
        notes.append(
            f"{counts['found_on_false_alarms']} of those found lie on images that are predicted anomalous untouched."
        )
    if counts["not_made"]:
        notes.append(
            f"{counts['not_made']} could not be made: nowhere did the image change by {settings['min_change']:g} grey "
            "levels. They count neither as found nor as missed."
        )
    if settings["good_images"] == "train":
        notes.append(
            "The run learnt from these photographs, as it held none out (folds): what they score untouched says "
            "nothing, and on new ones the shares may be other. Other good photographs in DATA are taken instead."
        )
    if settings["good_images"] == "calibration":
        notes.append(
            "There are no good test images, so the false alarm rate is that of the images the threshold was set on: "
            "it says nothing new."
        )
    return notes
