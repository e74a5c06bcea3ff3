"""Normal and anomalous attention side by side, for a normal and an anomalous image (the paper's Fig. 1 i b)."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cavga.map_scale import MapScale
from cavga.page import picture_row
from cavga.pictures import heatmap, outline, resize_map

SCALE = MapScale(0.5, 0.5)  # 0 to 1
COLUMNS = ("photograph", "attention of normal, A^cn", "attention of anomalous, A^ca")


@dataclass(frozen=True, eq=False)
class AttentionCase:
    """One image and the attention of both classes, in [0, 1] at the model's input size."""

    path: str
    label: int
    photograph: NDArray[np.uint8]
    normal: NDArray[np.float32]
    anomalous: NDArray[np.float32]
    mask: NDArray[np.bool_] | None


def attention_figure(cases: Sequence[AttentionCase]) -> str:
    """The pictures as HTML, one row an image; "" where there is nothing to show."""
    if not cases:
        return ""
    return (
        "<h3>Normal and anomalous attention</h3>"
        '<p class="hint">Of the good and of the defective test images, the one with the median score. Dark is 0, '
        "bright is 1. On a normal image the attention of normal should cover all and that of anomalous nothing.</p>"
        f'<div class="gallery">{"".join(_row(case) for case in cases)}</div>'
    )


def _row(case: AttentionCase) -> str:
    size = case.photograph.shape[:2]
    photograph = case.photograph if case.mask is None else outline(case.photograph, case.mask)
    maps = [heatmap(resize_map(attention, size), SCALE) for attention in (case.normal, case.anomalous)]
    name = escape(case.path)
    pictures = picture_row((photograph, *maps), [f"{column}: {name}" for column in COLUMNS])
    means = f"mean A^cn {case.normal.mean():.3f}, mean A^ca {case.anomalous.mean():.3f}"
    return (
        f'<figure class="case">{pictures}<figcaption>'
        f'<b>{"defective" if case.label else "good"}</b><span class="name">{name}</span>'
        f'<span class="hint">{" · ".join(COLUMNS)} · {means}</span></figcaption></figure>'
    )
