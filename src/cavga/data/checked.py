"""A data set looked through: what `cavga check` says of it. No torch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cavga.config.presets import make_config
from cavga.config.schema import DataConfig
from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog, count_images
from cavga.data.records import Catalog, Finding
from cavga.data.visibility import Visibility, visibility_of
from cavga.images.input_size import MIXED_REMEDY
from cavga.progress import SILENT, Progress


@dataclass(frozen=True, eq=False, repr=False)
class CheckedData:
    """What `check` found: images by split and label, what is wrong, errors first, and what a map would show."""

    catalog: Catalog
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    visibility: Visibility | None

    @property
    def num_errors(self) -> int:
        return sum(item.severity == "error" for item in self.findings)

    @property
    def num_warnings(self) -> int:
        return sum(item.severity == "warning" for item in self.findings)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items() if count)
        trouble = f"{self.num_errors} errors, {self.num_warnings} warnings"
        return f"CheckedData(layout {self.catalog.layout}; {counts}; {trouble})"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "layout": self.catalog.layout,
            "counts": self.counts,
            "findings": [asdict(item) for item in self.findings],
            "visibility": self.visibility and asdict(self.visibility),
        }


def check(
    data: str | Path,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal_class: str | None = None,
    image_size: Any = DataConfig.image_size,
    tile: int | None = None,
    progress: Progress = SILENT,
) -> CheckedData:
    """What is in a data set and everything wrong with it; `image_size` and `tile` are those to train with.

    Every image is decoded once. Raises DataError where there is no data set.
    """
    settings = make_config("recommended", {"data": {"image_size": image_size, "tile": tile}}).data
    catalog = load_catalog(Path(data), layout=layout, category=category, normal_class=normal_class)
    counts, findings = count_images(catalog), check_catalog(catalog, progress)
    visible = visibility_of(catalog, settings)
    if visible is not None and visible.mixed:
        findings = [*findings, Finding("warning", ".", visible.mixed, MIXED_REMEDY)]
    return CheckedData(catalog, counts, tuple(findings), visible)
