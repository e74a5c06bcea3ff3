"""The cells of the paper's Figures 1, 3, 4 and 5: those of its tables, and one that no table has."""

from collections.abc import Sequence
from dataclasses import replace

from cavga.benchmark.experiments.experiment import Cell, merge
from cavga.benchmark.experiments.table_8_and_weak import table8_cells
from cavga.benchmark.experiments.tables_3_to_6 import table3_cells, table4_cells

WITHOUT_EXPANSION = ", without L_ae"  # ends the name of the cell that is trained with L + L_adv alone
SHOWN = ("r-u", "r-w")


def fig1_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """r-u with and without L_ae, and r-w, with preset `paper`: with the other one no map depends on L_ae."""
    cells = []
    for cell in _shown(table3_cells(seeds, weights)):
        if cell.preset != "paper":
            continue
        if cell.kind == "r-u":
            overrides = merge(cell.overrides, {"loss": {"attention_weight": 0.0}})
            note = "; ".join(part for part in (cell.note, "w_ae = 0") if part)
            cells.append(replace(cell, name=cell.name + WITHOUT_EXPANSION, overrides=overrides, note=note))
        cells.append(cell)
    return cells


def fig3_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """Table 3's r-u and r-w with both presets, and Table 4's where its data set is there."""
    scenes = [replace(cell, is_extra=True) for cell in _shown(table4_cells(seeds, weights))]
    return [*_shown(table3_cells(seeds, weights)), *scenes]


def fig4_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """Table 3's r-u and r-w with both presets."""
    return _shown(table3_cells(seeds, weights))


def fig5_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """Table 8's c1 to c8."""
    columns = tuple(f"c{number}: " for number in range(1, 9))
    return [cell for cell in table8_cells(seeds, weights) if cell.name.startswith(columns)]


def _shown(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.method == "cavga" and cell.kind in SHOWN]
