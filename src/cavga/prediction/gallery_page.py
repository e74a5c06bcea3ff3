"""gallery.html: the photographs with the highest scores, the highest first, on one page without other files. No torch.

However many photographs are predicted, it shows NUM_SHOWN of them: what is held meanwhile are small maps.
"""

from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from cavga.arrays import AnomalyMap
from cavga.errors import DataError
from cavga.images.decode import read_image
from cavga.images.resize import resize_map
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Prediction
from cavga.rendering.heatmaps import panels
from cavga.rendering.html import PANEL_SIDE, hint, legend, page_of, picture_row
from cavga.rendering.scale import MapScale
from cavga.threads import thread_pool

GALLERY_FILE = "gallery.html"
TITLE = "Predictions, highest scores first"
NUM_SHOWN = 60  # of 60 kB or so each: a page that opens at once and can be sent by mail


@dataclass(frozen=True, eq=False)
class _Shown:
    """One photograph to show, with its map as small as it is shown."""

    score: float
    path: Path
    name: str
    is_anomalous: bool
    rarity: str | None
    size: tuple[int, int]
    anomaly_map: AnomalyMap


class Gallery:
    """The photographs with the highest scores so far."""

    def __init__(self, detector: AnomalyDetector, scale: MapScale, cut: float) -> None:
        self._detector, self._scale, self._cut = detector, scale, cut
        self._shown: list[_Shown] = []

    def add(self, path: Path, name: str, result: Prediction) -> None:
        """Keep a photograph as long as its score is among the highest."""
        if len(self._shown) >= NUM_SHOWN and result.score <= self._shown[-1].score:
            return
        height, width = result.image_size
        factor = PANEL_SIDE / max(height, width)
        small = (max(1, round(height * factor)), max(1, round(width * factor)))
        here = _Shown(
            result.score, path, name, result.score >= self._cut, result.p_value_in_words, result.image_size,
            resize_map(np.asarray(result.anomaly_map), small),
        )  # fmt: skip
        self._shown = sorted([*self._shown, here], key=lambda one: -one.score)[:NUM_SHOWN]

    def page(self, *, num_scored: int, num_anomalous: int, table: str) -> bytes:
        """The page; `table` names the file that has all photographs."""
        count = f"{num_scored} photographs scored, {num_anomalous} anomalous."
        if len(self._shown) < num_scored:
            count += f" Here are the {len(self._shown)} with the highest scores; {table} has all."
        is_any_below = self._scale.is_known and any(
            not one.is_anomalous and bool((one.anomaly_map >= self._scale.threshold).any()) for one in self._shown
        )
        pictures = "photograph, and what the model marks"
        key = legend(self._scale, is_any_below=is_any_below, pictures=pictures, has_masks=False)
        with thread_pool() as pool:
            figures = list(pool.map(partial(_figure, self._detector, self._scale, self._cut), self._shown))
        body = f'{key}<div class="gallery">{"".join(figures)}</div>' if figures else hint("No photograph was scored.")
        return page_of(TITLE, f"<p>{escape(count)}</p>", body)


def is_gallery(path: Path) -> bool:
    """Whether there is a page that `Gallery` wrote, by its title."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f"<title>{TITLE}</title>".encode() in file.read(2048)


def _figure(detector: AnomalyDetector, scale: MapScale, cut: float, one: _Shown) -> str:
    name, verdict = escape(one.name), "anomalous" if one.is_anomalous else "normal"
    sign = "≥" if one.is_anomalous else "<"
    facts = [f"score {one.score:.4g} {sign} {cut:.4g}", *([one.rarity] if one.rarity else [])]
    try:
        photograph = read_image(one.path, detector.tiling.pixel_range)
        if photograph.shape[:2] != one.size:
            raise DataError(f"{one.path}: was changed after it was scored; predict again")
        seen, marked, _ = panels(
            photograph, one.anomaly_map, scale, None, is_anomalous=one.is_anomalous, longer_side=PANEL_SIDE
        )
        pictures = picture_row((seen, marked), (f"Photograph {name}", f"{name} in grey, with what the model marks"))
    except DataError as error:  # what was found of it stands here all the same
        pictures = hint(str(error))
    return (
        f'<figure class="case">{pictures}<figcaption><b class="key {verdict}">{verdict}</b><span class="name">{name}'
        f'</span><span class="hint">{escape(" · ".join(facts))}</span></figcaption></figure>'
    )
