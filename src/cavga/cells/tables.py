"""Every table and its cells."""

from collections.abc import Callable, Sequence

from cavga.cells.at_128_px import contamination_cells, table8_cells, variant_cells, weak_cells
from cavga.cells.cell import Cell
from cavga.cells.good_only import accuracy_cells, demo_cells, screw_cells
from cavga.cells.small_images import table7_cells

TABLES: dict[str, Callable[[Sequence[int], str | None], list[Cell]]] = {
    "demo": demo_cells,
    "screw": screw_cells,
    "variants": variant_cells,
    "table7": table7_cells,
    "table8": table8_cells,
    "weak": weak_cells,
    "accuracy": accuracy_cells,
    "contamination": contamination_cells,
}
