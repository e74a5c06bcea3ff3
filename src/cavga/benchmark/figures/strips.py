"""One test image through several models: photograph above true mask, then each model's map above what it marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Picture
from cavga.benchmark.figures.finished_runs import FinishedRun, maps_of, photograph_of
from cavga.data.records import NORMAL
from cavga.evaluation.results import ScoredImage, has_known_mask, true_mask
from cavga.images.resize import resize_map, resize_mask
from cavga.rendering.heatmaps import heatmap, outline, overlay
from cavga.rendering.html import data_uri
from cavga.rendering.scale import MapScale, picture_scale

SIDE = 220  # px of the longer side
READING = (
    "The first column is the photograph, and below it the true defect. Every other column is a model: its anomaly "
    "map, dark to bright with the model's threshold half way, and below it the photograph in grey, tinted by the map,"
    " with a yellow line round what lies at or above the threshold. Cyan is the true defect's border."
)
STYLE = """
.strip { background: var(--soft); border-radius: .5rem; padding: .75rem; margin: 1rem 0; break-inside: avoid; }
.strip > figcaption { padding-bottom: .5rem; } .strip .name { font-weight: 600; margin: 0 .75rem; }
.strip .hint { display: block; }
.models { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(6.5rem, 13rem); gap: .5rem; }
.models img { display: block; width: auto; height: auto; max-width: 100%; max-height: 13rem; margin-bottom: .35rem;
  border-radius: .2rem; }
.models p { margin: 0; font-size: .85rem; line-height: 1.3; } .models p span { color: var(--dim); display: block; }
.short { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); display: grid; gap: 0 1.25rem;
  align-items: start; }
"""


@dataclass(frozen=True, eq=False)
class ModelMap:
    """What one model makes of the image."""

    name: str
    note: str
    anomaly_map: NDArray[np.float32]
    scale: MapScale
    is_anomalous: bool


def model_maps(run: FinishedRun, name: str, images: Sequence[ScoredImage]) -> list[ModelMap]:
    """The column of a run for each image."""
    detector = run.detector()
    scale = picture_scale(detector)
    maps = maps_of(detector, images)
    columns = []
    for image, found in zip(images, maps, strict=True):
        is_anomalous = bool(run.images[image.record.relative_path].is_anomalous)
        columns.append(ModelMap(name, note_of(run, image), found, scale, is_anomalous))
    return columns


def note_of(run: FinishedRun, image: ScoredImage) -> str:
    """The overlap of what the run marks in an image, and its decision."""
    path = image.record.relative_path
    overlap, own = run.overlaps.get(path), run.images[path]
    decision = "predicted anomalous" if own.is_anomalous else "called normal"
    return decision if overlap is None else f"IoU {overlap.iou:.2f}, {decision}"


def strip(image: ScoredImage, models: Sequence[ModelMap], *, title: str, hint: str = "") -> str:
    """The image's row as HTML."""
    name, photograph = escape(image.record.relative_path), photograph_of(image.record, longer_side=SIDE)
    mask = None
    if has_known_mask(image):
        mask = resize_mask(true_mask(image, None), photograph.shape[:2])
    columns = [_first_column(name, photograph, mask)]
    for model in models:
        resized = resize_map(model.anomaly_map, photograph.shape[:2])
        marked = overlay(photograph, resized, model.scale, is_anomalous=model.is_anomalous)
        pictures = (heatmap(resized, model.scale), marked if mask is None else outline(marked, mask))
        title_of = escape(model.name)
        alts = (f"anomaly map of {title_of}: {name}", f"what {title_of} marks in {name}")
        columns.append(_column(pictures, alts, f"{title_of}<span>{escape(model.note)}</span>"))
    kind = "good" if image.record.label == NORMAL else image.record.defect_type or "defective"
    said = f'<span class="hint">{escape(hint)}</span>' if hint else ""
    head = f'<b>{escape(title)}, {escape(kind)}</b><span class="name">{name}</span>{said}'
    return (
        f'<figure class="strip"><figcaption>{head}</figcaption>'
        f'<div class="scroll"><div class="models">{"".join(columns)}</div></div></figure>'
    )


def _first_column(name: str, photograph: Picture, mask: NDArray[np.bool_] | None) -> str:
    if mask is None:
        return _column((photograph,), (f"photograph {name}",), "photograph<span>no mask</span>")
    truth = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    alts = (f"photograph {name}", f"true defect of {name}")
    return _column((photograph, truth), alts, "photograph<span>true defect</span>")


def _column(pictures: Sequence[Picture], alts: Sequence[str], caption: str) -> str:
    images = "".join(
        f'<img src="{data_uri(picture)}" alt="{alt}" width="{picture.shape[1]}" height="{picture.shape[0]}">'
        for picture, alt in zip(pictures, alts, strict=True)
    )
    return f"<div>{images}<p>{caption}</p></div>"
