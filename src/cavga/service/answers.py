"""A prediction as a server says it: the fields of predictions.jsonl, and pictures and maps where they are asked for."""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

from cavga.arrays import AnomalyMap
from cavga.errors import UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import as_json
from cavga.inference.prediction import Prediction
from cavga.prediction.map_files import grey_scale, greys
from cavga.service.refusals import unusable

MapKind = Literal["npy", "png"]
_LEFT_OUT = ("label", "error")  # of a line: nobody knows one, and an image with the other has no answer


@dataclass(frozen=True)
class Wanted:
    """What an answer holds beside the numbers; with `is_picture` it is the overlay and nothing else."""

    overlay: bool = False
    map: MapKind | None = None
    is_picture: bool = False

    @property
    def needs_pixels(self) -> bool:
        return self.overlay or self.is_picture


def prediction_answer(
    detector: AnomalyDetector, prediction: Prediction, wanted: Wanted, *, threshold: float | None, **more: Any
) -> bytes:
    """The answer's body: JSON, or a PNG file of the overlay."""
    cut = prediction.threshold if threshold is None else threshold
    if wanted.is_picture:
        return _overlay(prediction, cut)
    line = prediction.line(more.pop("path"), cut, prediction.regions()).as_dict()
    answer = {**more, **{key: value for key, value in line.items() if key not in _LEFT_OUT}}
    answer["image_size"] = list(prediction.image_size)
    if wanted.overlay:
        answer["overlay_png"] = _text(_overlay(prediction, cut))
    if wanted.map is not None:
        answer[f"map_{wanted.map}"] = _text(_map(detector, prediction.anomaly_map, wanted.map))
    return as_json(answer)


def _overlay(prediction: Prediction, threshold: float) -> bytes:
    return _png(prediction.overlay(threshold=threshold))


def _map(detector: AnomalyDetector, anomaly_map: AnomalyMap, kind: MapKind) -> bytes:
    if kind == "png":
        try:
            return _png(Image.fromarray(greys(anomaly_map, grey_scale(detector))))
        except UsageError:
            raise unusable("map: greys have no scale for this model; ask for npy", "map") from None
    file = BytesIO()
    np.save(file, anomaly_map, allow_pickle=False)
    return file.getvalue()


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=1)  # in a server time counts more than bytes
    return file.getvalue()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
