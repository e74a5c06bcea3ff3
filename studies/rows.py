"""What several studies do with their rows and masks."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.result_files import write_result
from cavga.arrays import Mask
from cavga.data.records import ImageRecord
from cavga.images.masks import read_mask
from cavga.images.resize import true_mask_at


def write_rows(name: str, rows: Sequence[dict[str, Any]], header: Mapping[str, Any] | None = None) -> None:
    """Write benchmarks/results/NAME.jsonl, whole; without a header that of a table of `cavga benchmark`."""
    header = {"table": name, "machine": platform.machine()} if header is None else header
    write_result(name, {**header, "rows": list(rows)})


def by_type(name: str, records: Sequence[ImageRecord]) -> Iterator[tuple[str, list[ImageRecord]]]:
    """The set, then each of its defect types if it has several."""
    types = sorted({record.defect_type for record in records if record.defect_type})
    yield name, list(records)
    for defect_type in types if len(types) > 1 else ():
        yield f"{name}, {defect_type}", [record for record in records if record.defect_type == defect_type]


def mask_at(record: ImageRecord, size: int) -> Mask:
    """The mask resized by nearest, as the evaluation does it."""
    return true_mask_at(read_mask(record.mask_paths), (size, size))


def rounded(value: float | None) -> float | None:
    """To four digits."""
    return None if value is None else round(value, 4)
