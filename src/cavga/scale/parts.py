"""The output of a shard: Parquet parts that are never changed, each with a marker without which it does not count.

OUTPUT/shard-00003-of-00008/ID.parquet has the images that were scored, ID.bad.parquet those that could not be read, and
ID.done, which is written last, how many. ID is a hash of the names of all of them: a part that is done twice is one.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.errors import DataError, MissingExtraError, ResumeError, UsageError
from cavga.scale.storage import EXTRA, Folder
from cavga.scale.work_list import Shard, digest_of
from cavga.structured_files import parse_json

MARKER, SCORED, BAD = ".done", ".parquet", ".bad.parquet"
Row = Mapping[str, Any]
_SHARD = re.compile(r"shard-\d+-of-(\d+)")


def _schemas() -> dict[str, Any]:
    """The columns of both kinds of file."""
    pa, _ = _arrow()
    region = pa.struct(
        {
            "box": pa.list_(pa.int32()),
            "polygon": pa.list_(pa.list_(pa.int32())),
            "area": pa.float64(),
            "score": pa.float64(),
            "below_image_threshold": pa.bool_(),
        }
    )
    known = {"path": pa.string(), "category": pa.string()}
    scored = {
        "model": pa.string(),
        "score": pa.float64(),
        "threshold": pa.float64(),
        "is_anomalous": pa.bool_(),
        "p_value": pa.float64(),
        "num_regions": pa.int32(),
        "regions": pa.list_(region),
        "map": pa.string(),
        "remarks": pa.list_(pa.string()),
        "milliseconds": pa.float32(),
    }
    return {SCORED: pa.schema(known | scored), BAD: pa.schema({**known, "error": pa.string()})}


def _arrow() -> tuple[Any, Any]:
    """The packages pyarrow and pyarrow.parquet, which parts alone take; raises MissingExtraError."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"parts take pyarrow: {EXTRA}") from error
    return pyarrow, parquet


@dataclass
class Counts:
    """How many images were scored, were anomalous, and could not be read."""

    scored: int = 0
    anomalous: int = 0
    bad: int = 0

    def add(self, other: "Counts") -> None:
        """Count these too."""
        self.scored += other.scored
        self.anomalous += other.anomalous
        self.bad += other.bad

    @property
    def images(self) -> int:
        return self.scored + self.bad


class Done:
    """The names that are done, as 16 bytes of hash each, sorted in runs whose lengths at least halve."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, keys: Iterable[str]) -> None:
        """Take names in."""
        run = _digests(keys)
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.concatenate([self._runs.pop(), run])
        if len(run):
            self._runs.append(run[np.lexsort((run[:, 1], run[:, 0]))])

    def has(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the names are in."""
        asked, found = _digests(keys), np.zeros(len(keys), dtype=bool)
        for run in self._runs:
            # Two names that agree in 64 bits would be done twice, not left out: all 128 are compared.
            places = np.minimum(np.searchsorted(run[:, 0], asked[:, 0]), len(run) - 1)
            found |= (run[places] == asked).all(axis=1)
        return found


def _digests(keys: Iterable[str]) -> NDArray[np.uint64]:
    content = b"".join(map(digest_of, keys))
    return np.frombuffer(content, dtype=np.uint64).reshape(-1, 2)


@dataclass
class PartStore:
    """The parts of one shard in an output folder; `models` is what scored them, by category."""

    folder: Folder
    shard: Shard
    models: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UsageError where the output was begun with another number of shards: some images would be twice."""
        counts = {int(found[1]) for name in self.folder.names() if (found := _SHARD.fullmatch(name))}
        if counts - {self.shard.count}:
            raise UsageError(
                f"{self.folder.place} was begun with n = {min(counts - {self.shard.count})} shards, not "
                f"{self.shard.count}: go on with those, or choose another --output"
            )

    def committed(self) -> list[str]:
        """The parts that count."""
        names = self.folder.names(self.shard.name)
        return [name.removesuffix(MARKER) for name in names if name.endswith(MARKER)]

    def is_committed(self, keys: Sequence[str]) -> bool:
        """Whether the part of these images counts already."""
        return self.folder.has(f"{self.shard.name}/{part_name(keys)}{MARKER}")

    def counts_of(self, keys: Sequence[str]) -> Counts:
        """The counts of the part of these images, which is committed."""
        marker = self._marker(part_name(keys))
        return Counts(marker["scored"], marker["anomalous"], marker["bad"])

    def done(self) -> tuple[Done, Counts]:
        """What is done; raises ResumeError where another model did it."""
        done, counts = Done(), Counts()
        for part in self.committed():
            marker = self._marker(part)
            self.check_models(marker["models"])
            counts.add(Counts(marker["scored"], marker["anomalous"], marker["bad"]))
            for suffix, count in ((SCORED, marker["scored"]), (BAD, marker["bad"])):
                if count:
                    table = read_parquet(self.folder, f"{self.shard.name}/{part}{suffix}", columns=["path"])
                    done.add(table["path"].to_pylist())
        return done, counts

    def commit(
        self, keys: Sequence[str], scored: Sequence[Mapping[str, Any]], bad: Sequence[Mapping[str, Any]]
    ) -> Counts:
        """Write a part, what could not be read apart, and last the marker with which both count."""
        part = f"{self.shard.name}/{part_name(keys)}"
        counts = Counts(len(scored), sum(bool(row["is_anomalous"]) for row in scored), len(bad))
        for suffix, rows in ((SCORED, scored), (BAD, bad)):
            # Both, empty or not: one of them can be there already, of a worker that died before it wrote the marker.
            self.folder.write(f"{part}{suffix}", _parquet(rows, _schemas()[suffix]))
        models = {row["category"] or "": model_identity(row["model"], row["threshold"]) for row in scored}
        self.check_models(models)
        self.folder.write(f"{part}{MARKER}", json.dumps({**vars(counts), "models": models}).encode())
        return counts

    def _marker(self, part: str) -> dict[str, Any]:
        name = f"{self.shard.name}/{part}{MARKER}"
        try:
            marker = parse_json(self.folder.read(name), dict)
            return {key: marker[key] for key in ("scored", "anomalous", "bad", "models")}
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{self.folder.place}/{name} is damaged: remove it, and its part is done again") from None

    def check_models(self, models: Mapping[str, str]) -> None:
        """Raise ResumeError where one of these is not what scored its category before."""
        for category, model in models.items():
            if self.models.setdefault(category, model) != model:
                named = f" of {category}" if category else ""
                raise ResumeError(
                    f"{self.folder.place} was begun with another model or threshold{named}: choose another --output"
                )


def model_identity(model: str, threshold: float) -> str:
    """What all images of a category in one output have in common."""
    return f"{model}, threshold {threshold:.9g}"


def part_name(keys: Sequence[str]) -> str:
    """The name of the part that holds these images."""
    return hashlib.sha256("\0".join(keys).encode(errors="surrogateescape")).hexdigest()[:32]


def read_parquet(folder: Folder, name: str, columns: list[str] | None = None) -> Any:
    """A file of a part as a pyarrow.Table; raises DataError where it is damaged."""
    pa, parquet = _arrow()
    try:
        return parquet.read_table(io.BytesIO(folder.read(name)), columns=columns)
    except pa.ArrowException as error:
        raise DataError(f"{folder.place}/{name} is damaged ({error}): remove the marker of its part") from None


def committed_files(output: str) -> dict[str, list[str]]:
    """The files of all shards that count: "scored" and "bad", relative to `output`."""
    folder, parts = Folder(output), list[str]()
    for shard in filter(_SHARD.fullmatch, folder.names()):
        names = folder.names(shard)
        parts += [f"{shard}/{name.removesuffix(MARKER)}" for name in names if name.endswith(MARKER)]
    return {kind: [f"{part}{suffix}" for part in parts] for kind, suffix in (("scored", SCORED), ("bad", BAD))}


def _parquet(rows: Sequence[Row], schema: Any) -> bytes:
    pa, parquet = _arrow()
    content = io.BytesIO()
    plain = [{name: _text(row.get(name)) for name in schema.names} for row in rows]
    parquet.write_table(pa.Table.from_pylist(plain, schema), content, compression="zstd")
    return content.getvalue()


def _text(value: Any) -> Any:
    r"""A name that is not UTF-8 as in predictions.jsonl: Python's lone surrogates as \udcXX."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
