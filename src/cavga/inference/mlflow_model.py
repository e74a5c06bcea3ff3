"""What MLflow calls to load and run a folder of `cavga export --format mlflow`. No torch, and no MLflow either.

MLflow imports this module by the name that the folder's MLmodel gives, and hands it the path of the exported graph.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cavga.errors import UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage, FileContent

COLUMN = "image"
OUTPUTS = {
    "score": "double",
    "threshold": "double",
    "is_anomalous": "boolean",
    "p_value": "double",
    "regions": "string",
    "error": "string",
}
"""The columns of an answer, with MLflow's types."""


class ImageFilesModel:
    """Scores the bytes of image files."""

    def __init__(self, detector: AnomalyDetector) -> None:
        self._detector = detector

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """A table with the column `image` of bytes -> one with a row each: `OUTPUTS`, regions as JSON.

        An image that cannot be read has an error in its row, and no score. There are no parameters. Raises UsageError
        for anything else: a path would let who asks a server read its files.
        """
        import pandas

        rows = [self._row(content) for content in _contents(model_input)]
        return pandas.DataFrame(rows, columns=list(OUTPUTS), index=model_input.index)

    def _row(self, content: bytes) -> dict[str, Any]:
        import json

        image = self._detector.prepare(FileContent(content, COLUMN))
        (found,) = self._detector.score([image])
        if isinstance(found, FailedImage):
            return {"error": found.error}
        line = found.to_dict()
        return {**{name: line.get(name) for name in OUTPUTS}, "regions": json.dumps(line["regions"])}


def _contents(table: Any) -> Iterable[bytes]:
    if COLUMN not in getattr(table, "columns", ()):
        raise UsageError(f"expected a pandas DataFrame with the column {COLUMN!r}, which holds bytes of image files")
    contents = list(table[COLUMN])
    if not all(isinstance(content, bytes) for content in contents):
        raise UsageError(f"column {COLUMN!r}: expected the bytes of image files, and nothing else")
    return contents


def _load_pyfunc(path: str) -> ImageFilesModel:
    """What MLflow looks for in a loader module."""
    return ImageFilesModel(AnomalyDetector.load(Path(path), device="cpu"))
