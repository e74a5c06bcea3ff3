"""Where the results of an evaluation go: one of another data set never replaces an earlier one."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

import msgspec

from cavga.data.records import Catalog
from cavga.regular_files import NotRegularError, read_regular, real_path
from cavga.structured_files import StructureError, parse_json

EVALUATIONS = "evaluations"  # the folder beside the first one's files
_UNUSABLE = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')  # in the name of a folder, on any system


@dataclass(frozen=True)
class EvaluatedData:
    """Which photographs were evaluated, as metrics.json and self_test.json say under `provenance.evaluated`.

    `place_sha256` is over where they lay and which category they were: a path itself does not belong in a report that
    is passed on. `photographs_sha256` is over the photographs' own sha256, whatever their order.
    """

    name: str
    place_sha256: str
    photographs_sha256: str

    @classmethod
    def of(cls, data: Path, catalog: Catalog, photographs: Iterable[str]) -> "EvaluatedData":
        """Of the folder or manifest that a catalog was read from, and the sha256 of what is evaluated of it."""
        place = f"{real_path(data)}\n{catalog.title}"
        return cls(catalog.title, _sha256(place), _sha256("\n".join(sorted(photographs))))

    def as_dict(self) -> dict[str, str]:
        """As files hold it."""
        return asdict(self)

    def is_that_of(self, file: Path) -> bool:
        """Whether results that are there are of this data: of the same place, or of the same photographs.

        What is no file of results can be replaced; what does not say which data it is of stays.
        """
        try:
            earlier = parse_json(read_regular(file), _Results).provenance.evaluated
        except (StructureError, NotRegularError, OSError):
            return True
        if earlier is None:
            return False
        return earlier.place_sha256 == self.place_sha256 or earlier.photographs_sha256 == self.photographs_sha256


def place_of_results(folder: Path, file_name: str, data: EvaluatedData) -> Path:
    """`folder` itself, or FOLDER/evaluations/NAME where `file_name` in it is of other data; then NAME-2 and so on."""
    name = _UNUSABLE.sub("-", data.name).strip(" -.") or "data"
    beside = (folder / EVALUATIONS / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(
        place
        for place in chain((folder,), beside)
        if not (place / file_name).exists() or data.is_that_of(place / file_name)
    )


class _Evaluated(msgspec.Struct):
    place_sha256: str
    photographs_sha256: str


class _Provenance(msgspec.Struct):
    evaluated: _Evaluated | None = None


class _Results(msgspec.Struct):
    provenance: _Provenance


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
