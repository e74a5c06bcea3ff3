"""What pages of results are built from: the page itself, tables, notes, and cases with their pictures.

Nothing is fetched: pictures are data URIs, there is no script, and the page forbids requests itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.atomic_files import atomic_write
from cavga.rendering.heatmaps import STYLE, data_uri, legend, panels
from cavga.rendering.scale import MapScale

NOT_COMPUTABLE = '<span class="none">not computable</span>'
NUM_NOTES = 8  # in full view; the others can be unfolded
PANEL_SIDE = 304  # px of the longer side: sharp at the shown size, and 3 x 24 cases stay below 8 MB
# (label, is_anomalous) -> what to call it, in the order of display.
VERDICTS = {
    (1, False): "missed",
    (0, True): "false alarm",
    (1, True): "found",
    (0, False): "correctly passed",
    (None, True): "called anomalous",
    (None, False): "called normal",
}


@dataclass(frozen=True, eq=False)
class Case:
    """One image to show; `label` is 0 (good), 1 (defective) or None, `mask` None where it is not known.

    `threshold` is None where the decision is not by one; `scale` is the same for all cases of a page's section.
    """

    path: str
    label: int | None
    defect_type: str | None
    score: float
    threshold: float | None
    is_anomalous: bool
    photograph: NDArray[np.uint8]
    anomaly_map: NDArray[np.float32]
    scale: MapScale
    mask: NDArray[np.bool_] | None


def write_page(path: Path, title: str, header: str, body: str, *, style: str = "") -> None:
    """Write a page; `title` is escaped here, `header` (below the title) and `body` are HTML already, `style` is CSS."""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{header}</header>\n<main>{body}</main></body></html>\n"
    )
    # A file name that is no valid text (a lone surrogate, from a Linux folder) must not lose the page.
    atomic_write(path, page.encode("utf-8", errors="replace"))


def table(caption: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table; everything is HTML already, a row with its tags."""
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in columns)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def note_list(notes: Sequence[str]) -> str:
    """Texts as a list under a heading, those beyond NUM_NOTES folded; nothing without any."""
    items = [f"<li>{escape(note)}</li>" for note in notes]
    shown, rest = "".join(items[:NUM_NOTES]), "".join(items[NUM_NOTES:])
    more = f"<details><summary>{len(items) - NUM_NOTES} more</summary><ul>{rest}</ul></details>" if rest else ""
    return f"<h3>Notes</h3><ul>{shown}</ul>{more}" if items else ""


def hint(text: str) -> str:
    """A quiet remark as HTML."""
    return f'<p class="hint">{escape(text)}</p>'


def fault_list(heading: str, texts: Sequence[str]) -> str:
    """What is missing, and why, as a section; "" where nothing is."""
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<section><h2>{escape(heading)}</h2><ul class="fault">{items}</ul></section>'


def fact_line(name: str, facts: Mapping[str, Any] | None) -> str:
    """Keys and values on one quiet line; what is not known is not there."""
    known = [(key, value) for key, value in (facts or {}).items() if value is not None]
    texts = [f"{escape(key.replace('_', ' '))} {escape(str(value))}" for key, value in known]
    return f'<p class="hint">{name}: {" · ".join(texts)}</p>' if texts else ""


def gallery(title: str, cases: Sequence[Case]) -> str:
    """The cases with their pictures, in the order given, under a heading; nothing without any."""
    if not cases:
        return ""
    return (
        f"<h3>{escape(title)}</h3>{legend(cases[0].scale)}"
        f'<div class="gallery">{"".join(_case(case) for case in cases)}</div>'
    )


def picture_row(pictures: Sequence[NDArray[np.uint8]], alts: Sequence[str]) -> str:
    """Pictures side by side; the texts that stand for them are HTML already."""
    images = "".join(
        f'<img src="{data_uri(picture)}" alt="{alt}" width="{picture.shape[1]}" height="{picture.shape[0]}">'
        for picture, alt in zip(pictures, alts, strict=True)
    )
    return f'<div class="panels">{images}</div>'


def _case(case: Case) -> str:
    pictures = panels(case.photograph, case.anomaly_map, case.scale, case.mask, longer_side=PANEL_SIDE)
    name = escape(case.path)
    has_outline = case.mask is not None and case.mask.any()
    alts = (
        f"Photograph {name}{', its true defect outlined' if has_outline else ''}",
        f"{name} in grey, with what the model marks",
        f"Anomaly map of {name}, at most {case.anomaly_map.max():.3g}",
    )
    verdict = VERDICTS[case.label, case.is_anomalous]
    truth = {0: "good", 1: case.defect_type or "defective", None: "no label"}[case.label]
    cut = "" if case.threshold is None else f" {'≥' if case.is_anomalous else '&lt;'} {case.threshold:.4g}"
    return (
        f'<figure class="case">{picture_row(pictures, alts)}<figcaption>'
        f'<b class="{verdict.split()[0]}">{verdict}</b><span class="name">{name}</span>'
        f'<span class="hint">{escape(truth)} · score {case.score:.4g}{cut}</span>'
        "</figcaption></figure>"
    )
