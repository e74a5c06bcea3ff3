"""Attention maps beside their photograph: of both classes (the paper's Fig. 1 i b), or of several models."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import AnomalyMap
from cavga.images.resize import resize_map
from cavga.rendering.heatmaps import heatmap, outline
from cavga.rendering.html import picture_row
from cavga.rendering.scale import MapScale

SCALE = MapScale(0.5, 0.5)  # 0 to 1
NAMED_MAPS = (("attention of normal, A^cn", "A^cn"), ("attention of anomalous, A^ca", "A^ca"))


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


def attention_row(
    path: str, label: int, photograph: NDArray[np.uint8], maps: Sequence[tuple[str, str, AnomalyMap]]
) -> str:
    """A photograph beside maps in [0, 1] as HTML; each map has a title and, for its mean, a short name."""
    drawn = [heatmap(resize_map(attention, photograph.shape[:2]), SCALE) for _, _, attention in maps]
    name, columns = escape(path), ["photograph", *(escape(title) for title, _, _ in maps)]
    pictures = picture_row((photograph, *drawn), [f"{column}: {name}" for column in columns])
    means = ", ".join(f"mean {escape(short)} {attention.mean():.3f}" for _, short, attention in maps)
    return (
        f'<figure class="case">{pictures}<figcaption>'
        f'<b>{"defective" if label else "good"}</b><span class="name">{name}</span>'
        f'<span class="hint">{" · ".join(columns)} · {means}</span></figcaption></figure>'
    )


def _row(case: AttentionCase) -> str:
    photograph = case.photograph if case.mask is None else outline(case.photograph, case.mask)
    named = zip(NAMED_MAPS, (case.normal, case.anomalous), strict=True)
    maps = [(title, short, attention) for (title, short), attention in named]
    return attention_row(case.path, case.label, photograph, maps)
