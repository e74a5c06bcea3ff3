"""What a cell is trained on: its folder below the data root, or a manifest where the training images are changed."""

from pathlib import Path

from cavga.benchmark.experiments.experiment import Cell
from cavga.benchmark.experiments.table_8_and_weak import CONTAMINATION_SHARES
from cavga.data.contamination import write_contaminated
from cavga.data.subset import write_subset, write_with_spare
from cavga.runs.model_json import MANIFEST_FILE


def data_of(cell: Cell, root: Path, output: Path) -> Path:
    """The cell's folder below the data root, or a manifest below OUTPUT, which is written."""
    data, share, number = root / cell.data, cell.contamination, cell.num_images
    if share is not None:
        manifest = _place(cell, output, f"{100 * share:g} % bad")
        write_contaminated(data, manifest, share=share, reserved_share=max(CONTAMINATION_SHARES), seed=cell.seed)
        return manifest
    if number is not None:
        manifest = _place(cell, output, f"{number} images")
        write_subset(data, manifest, num_images=None if number == "all" else number, seed=cell.seed)
        return manifest
    if cell.with_spare:
        manifest = _place(cell, output, "with spare images")
        write_with_spare(data, manifest)
        return manifest
    return data


def _place(cell: Cell, output: Path, what: str) -> Path:
    return output / "manifests" / cell.data.replace("/", "-") / f"seed-{cell.seed}" / what / MANIFEST_FILE
