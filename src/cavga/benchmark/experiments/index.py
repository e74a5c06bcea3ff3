"""Every table and figure and its cells."""

from collections.abc import Callable, Sequence

from cavga.benchmark.experiments.accuracy import accuracy_cells, demo_cells, screw_cells
from cavga.benchmark.experiments.data_curve import data_curve_cells
from cavga.benchmark.experiments.experiment import Cell
from cavga.benchmark.experiments.figures import fig1_cells, fig3_cells, fig4_cells, fig5_cells
from cavga.benchmark.experiments.table_7 import table7_cells
from cavga.benchmark.experiments.table_8_and_weak import contamination_cells, table8_cells, variant_cells, weak_cells
from cavga.benchmark.experiments.tables_3_to_6 import table3_cells, table4_cells, table5_cells

TABLES: dict[str, Callable[[Sequence[int], str | None], list[Cell]]] = {
    "table3": table3_cells,
    "table4": table4_cells,
    "table5": table5_cells,
    "table6": table3_cells,
    "demo": demo_cells,
    "screw": screw_cells,
    "variants": variant_cells,
    "table7": table7_cells,
    "table8": table8_cells,
    "weak": weak_cells,
    "accuracy": accuracy_cells,
    "contamination": contamination_cells,
    "data-curve": data_curve_cells,
    "fig1": fig1_cells,
    "fig3": fig3_cells,
    "fig4": fig4_cells,
    "fig5": fig5_cells,
}
# Tables and figures of the same cells keep them in one folder, so that none is run twice.
FOLDERS: dict[str | tuple[str, str], str] = {
    **dict.fromkeys(("table3", "table6", "fig1", "fig3", "fig4"), "mvtec_ad"),
    "fig5": "table8",
    ("fig3", "shanghaitech"): "table4",
}
PROPERTIES_TABLE, COUNTS_TABLE, IMPROVEMENTS_FIGURE = "table1", "table2", "fig1ii"
SUMMARIES = (PROPERTIES_TABLE, COUNTS_TABLE, IMPROVEMENTS_FIGURE)  # nothing is trained for them


def folder_of(table: str, set_name: str, epochs: int | None) -> str:
    """The folder below the output for a table's runs on a data set; runs cut to fewer epochs have their own."""
    name = FOLDERS.get((table, set_name)) or FOLDERS.get(table, table)
    return name if epochs is None else f"{name}-epochs-{epochs}"
