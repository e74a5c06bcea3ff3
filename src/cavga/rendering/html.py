"""What pages of results are built from: the page and its style, tables, notes, the legend, cases with their pictures.

Nothing is fetched: pictures are data URIs, there is no script, and the page forbids requests itself.
"""

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import Picture
from cavga.atomic_files import atomic_write
from cavga.printable import printable
from cavga.rendering.heatmaps import BELOW, BELOW_COLOUR, HEAT_COLOURS, MODEL_COLOUR, TRUTH_COLOUR, pair, panels
from cavga.rendering.scale import MapScale

JPEG_QUALITY = 85
# In names: control characters, what turns the direction of text, and bytes that are not UTF-8.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STYLE = """
:root { --ground: #fff; --soft: #f3f4f6; --ink: #1c2026; --dim: #5a636e; --rule: #d9dde2; --link: #0b5cad;
  --normal: #4477aa; --anomalous: #d9662b; --bad: #b3261e; --warn: #8a5300; --good: #146c43; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #14171b; --soft: #1f2329; --ink: #e6e8eb;
  --dim: #a0a8b2; --rule: #363c44; --link: #7db7f5; --normal: #77aadd; --anomalous: #ee8866; --bad: #ff8a80;
  --warn: #f0b45a; --good: #6fcf97; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 74rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.45rem; margin: 2.5rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
section:only-child h2 { margin-top: 0; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
a { color: var(--link); } ul { margin: .25rem 0; padding-left: 1.2rem; } .verdict { font-size: 1.2rem; margin: 0; }
.hint { color: var(--dim); font-size: .85rem; } .none { color: var(--dim); font-style: italic; font-size: .85rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 3rem; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption, .plot figcaption { text-align: left; font-weight: 600; }
th, td { padding: .35rem 0 .35rem .75rem; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: top; font-weight: 400; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--dim); font-size: .85rem; } table .hint { display: block; line-height: 1.3; }
td { white-space: nowrap; }
figure { margin: 0; } .plot { margin: 1rem 0; } svg { width: 100%; max-width: 36rem; display: block; }
svg text { font-size: 11px; fill: var(--dim); } svg .name { fill: var(--ink); font-weight: 600;
  paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
svg .axis { stroke: var(--dim); } svg .threshold { stroke: var(--ink); stroke-dasharray: 4 3; }
svg .normal { fill: var(--normal); } svg .anomalous { fill: var(--anomalous); } svg .unknown { fill: var(--dim); }
svg .line { fill: none; stroke-width: 2; } svg .line.normal { fill: none; stroke: var(--normal); }
svg .line.anomalous { fill: none; stroke: var(--anomalous); } svg .grid { stroke: var(--rule); }
svg .chance { stroke: var(--dim); stroke-dasharray: 2 4; } svg .here { fill: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: center; margin-bottom: 1rem; }
.legend, .legend p { font-size: .85rem; margin-top: 0; } .legend p { margin: 0; }
.legend i { display: inline-block; width: 1rem; height: 1rem; margin-right: .5rem; border: 3px solid;
  background: #777; vertical-align: -.2rem; }
.scale { flex: 0 1 22rem; } .scale div { height: .75rem; } .scale p { display: flex; }
.scale span { flex: 1 1 0; text-align: center; } .scale span:first-child { text-align: left; }
.scale span:last-child { text-align: right; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.25rem; }
.case { background: var(--soft); border-radius: .5rem; padding: .75rem; break-inside: avoid; }
.panels { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: .4rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
  margin: 1rem 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .25rem 2rem;
  margin: .75rem 0; } .numbers p { margin: 0; } .numbers b { font-size: 1.8rem; line-height: 1.2; }
.alarm { border-left: 4px solid var(--warn); background: var(--soft); margin: 0 0 1rem; padding: .5rem .75rem; }
.panels img { display: block; width: 100%; height: auto; border-radius: .2rem; }
.case figcaption { display: flex; flex-wrap: wrap; gap: 0 .75rem; padding-top: .5rem; align-items: baseline; }
.case .hint { flex-basis: 100%; } .case .name { font-weight: 600; }
.facts { margin-top: 2rem; } .facts td { white-space: normal; text-align: left; }
.missed { color: var(--bad); } .false, .called { color: var(--warn); }
.found, .correctly { color: var(--good); } .key { font-weight: 600; }
.key.normal { color: var(--normal); } .key.anomalous { color: var(--anomalous); }
@media screen and (max-width: 30rem) { body { padding: 1rem; } h1 { font-size: 1.4rem; } table { font-size: .85rem; }
  th, td { padding-left: .4rem; } svg text { font-size: 13px; } .none { white-space: normal; } }
@media print { html { font-size: 8pt; } body { max-width: none; padding: 0; print-color-adjust: exact; }
  h2, h3, .legend { break-after: avoid; } section + section { break-before: page; } .plot { break-inside: avoid; }
  .gallery { grid-template-columns: 1fr 1fr; } }
"""


def legend(
    scale: MapScale,
    *,
    is_any_below: bool = False,
    pictures: str = "photograph, overlay, anomaly map",
    has_masks: bool = True,
) -> str:
    """HTML: what the pictures of a case are, and what their lines and colours mean.

    `is_any_below`: a photograph that is not anomalous has marks.
    """
    lowest = "0" if scale.minimum == 0 else f"{scale.minimum:.3g} and below"
    ticks = (lowest, f"{scale.threshold:.3g} = threshold" if scale.is_known else "", f"{scale.maximum:.3g} and above")
    gradient = ", ".join(_css(colour) for colour in HEAT_COLOURS)
    return (
        '<div class="legend"><p>Each case: '
        f"{pictures}</p>{_key(TRUTH_COLOUR, 'true defect, from the mask') if has_masks else ''}"
        f"{_key(MODEL_COLOUR, 'marked by the model: map ≥ threshold') if scale.is_known else ''}"
        f"{_key(BELOW_COLOUR, BELOW_IMAGE) if is_any_below else ''}"
        f'<div class="scale"><div style="background:linear-gradient(to right, {gradient})"></div>'
        f"<p>{''.join(f'<span>{tick}</span>' for tick in ticks)}</p></div></div>"
    )


def data_uri(picture: Picture) -> str:
    """The picture as a JPEG inside an address, for a page without other files."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb{colour}"


NOT_COMPUTABLE = '<span class="none">not computable</span>'
NUM_NOTES = 8  # in full view; the others can be unfolded
PANEL_SIDE = 304  # px of the longer side: sharp at the shown size, and 3 x 24 cases stay below 9 MB
BELOW_IMAGE = f"marked, dashed: {BELOW}"
PAIR_HEIGHT = 304  # px: nearly twice as many as it is shown with on most screens


@dataclass(frozen=True, eq=False)
class Case:
    """One image to show; `label` is 0 (good), 1 (defective) or None, `mask` None where it is not known.

    `verdict` says in a few words what became of it. `threshold` is None where the decision is not by one; `scale` is
    the same for all cases of a page's section. `remark` is what else is to be said of it.
    """

    path: str
    verdict: str
    label: int | None
    defect_type: str | None
    score: float
    threshold: float | None
    is_anomalous: bool
    photograph: NDArray[np.uint8]
    anomaly_map: NDArray[np.float32]
    scale: MapScale
    mask: NDArray[np.bool_] | None
    remark: str = ""

    @property
    def truth(self) -> str:
        """What it is, as far as anybody knows."""
        return {0: "good", 1: self.defect_type or "defective", None: "no label"}[self.label]


def write_page(path: Path, title: str, header: str, body: str, *, style: str = "") -> None:
    """Write what `page_of` makes to a file."""
    atomic_write(path, page_of(title, header, body, style=style))


def page_of(title: str, header: str, body: str, *, style: str = "") -> bytes:
    """A page; `title` is escaped here, `header` (below the title) and `body` are HTML already, `style` is CSS."""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{header}</header>\n<main>{body}</main></body></html>\n"
    )
    return _HARMFUL.sub(lambda found: printable(found[0]), page).encode()


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


def fact_table(caption: str, facts: Mapping[str, Any] | None) -> str:
    """Keys and values as a table that can be unfolded, those within others after them; "" where nothing is known."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in _flat(facts or {}, "")
    )
    if not rows:
        return ""
    return f'<details class="facts"><summary>{escape(caption)}</summary><table><tbody>{rows}</tbody></table></details>'


def _flat(facts: Mapping[str, Any], within: str) -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        name = f"{within}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif value not in (None, [], ()):
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def gallery(title: str, cases: Sequence[Case]) -> str:
    """The cases with their pictures, in the order given, under a heading; nothing without any."""
    if not cases:
        return ""
    return (
        f"<h3>{escape(title)}</h3>{legend(cases[0].scale, is_any_below=any(map(_is_marked_below, cases)))}"
        f'<div class="gallery">{"".join(_case(case) for case in cases)}</div>'
    )


def picture_row(pictures: Sequence[NDArray[np.uint8]], alts: Sequence[str]) -> str:
    """Pictures side by side; the texts that stand for them are HTML already."""
    images = "".join(
        f'<img src="{data_uri(picture)}" alt="{alt}" width="{picture.shape[1]}" height="{picture.shape[0]}">'
        for picture, alt in zip(pictures, alts, strict=True)
    )
    return f'<div class="panels">{images}</div>'


def pairs(cases: Sequence[Case]) -> str:
    """The cases large: photograph with the model's mark, map with the true defect; nothing without any."""
    if not cases:
        return ""
    is_any_known = any(case.mask is not None and case.mask.any() for case in cases)
    return (
        f'<div class="pairs">{"".join(_pair(case) for case in cases)}</div>'
        '<div class="legend"><p>Left the photograph, right its anomaly map: the brighter, the less normal.</p>'
        f"{_key(MODEL_COLOUR, 'marked by the model') if cases[0].scale.is_known else ''}"
        f"{_key(BELOW_COLOUR, BELOW_IMAGE) if any(map(_is_marked_below, cases)) else ''}"
        f"{_key(TRUTH_COLOUR, 'true defect') if is_any_known else ''}</div>"
    )


def _is_marked_below(case: Case) -> bool:
    """Whether something is outlined on a photograph that is not called anomalous."""
    return case.scale.is_known and not case.is_anomalous and bool((case.anomaly_map >= case.scale.threshold).any())


def _key(colour: tuple[int, int, int], meaning: str) -> str:
    return f'<p><i style="border-color:{_css(colour)}"></i>{meaning}</p>'


def _pair(case: Case) -> str:
    pictures = pair(
        case.photograph,
        case.anomaly_map,
        case.scale,
        case.mask,
        is_anomalous=case.is_anomalous,
        height=PAIR_HEIGHT,
    )
    name = escape(case.path)
    alts = (
        f"Photograph {name} with what the model marks",
        f"Anomaly map of {name}, at most {case.anomaly_map.max():.3g}",
    )
    return f'<figure class="case">{picture_row(pictures, alts)}{_caption(case)}</figure>'


def _case(case: Case) -> str:
    pictures = panels(
        case.photograph, case.anomaly_map, case.scale, case.mask, is_anomalous=case.is_anomalous, longer_side=PANEL_SIDE
    )
    name = escape(case.path)
    has_outline = case.mask is not None and case.mask.any()
    alts = (
        f"Photograph {name}{', its true defect outlined' if has_outline else ''}",
        f"{name} in grey, with what the model marks",
        f"Anomaly map of {name}, at most {case.anomaly_map.max():.3g}",
    )
    return f'<figure class="case">{picture_row(pictures, alts)}{_caption(case)}</figure>'


def _caption(case: Case) -> str:
    cut = "" if case.threshold is None else f" {'≥' if case.is_anomalous else '&lt;'} {case.threshold:.4g}"
    kind = case.verdict.replace(",", "").split()[0]
    remark = f" · {escape(case.remark)}" if case.remark else ""
    return (
        f'<figcaption><b class="{kind}">{case.verdict}</b><span class="name">{escape(case.path)}</span>'
        f'<span class="hint">{escape(case.truth)} · score {case.score:.4g}{cut}{remark}</span></figcaption>'
    )
