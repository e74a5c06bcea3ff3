"""Every table and figure and its experiments."""

from collections.abc import Callable, Sequence

from cavga.benchmark.experiments.accuracy import (
    accuracy_experiments,
    auto_size_experiments,
    screw_experiments,
    texture_experiments,
)
from cavga.benchmark.experiments.data_curve import data_curve_experiments
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.figures import fig1_experiments, fig3_experiments, fig4_experiments, fig5_experiments
from cavga.benchmark.experiments.new_sets import new_sets_experiments
from cavga.benchmark.experiments.table_7 import table7_experiments
from cavga.benchmark.experiments.table_8_and_weak import (
    contamination_experiments,
    table8_experiments,
    variant_experiments,
    weak_experiments,
)
from cavga.benchmark.experiments.tables_3_to_6 import table3_experiments, table4_experiments, table5_experiments

TABLES: dict[str, Callable[[Sequence[int], str | None], list[Experiment]]] = {
    "table3": table3_experiments,
    "table4": table4_experiments,
    "table5": table5_experiments,
    "table6": table3_experiments,
    "textures": texture_experiments,
    "screw": screw_experiments,
    "variants": variant_experiments,
    "table7": table7_experiments,
    "table8": table8_experiments,
    "weak": weak_experiments,
    "accuracy": accuracy_experiments,
    "new-sets": new_sets_experiments,
    "auto-size": auto_size_experiments,
    "contamination": contamination_experiments,
    "data-curve": data_curve_experiments,
    "fig1": fig1_experiments,
    "fig3": fig3_experiments,
    "fig4": fig4_experiments,
    "fig5": fig5_experiments,
}
# Tables and figures of the same experiments keep them in one folder, so that none is run twice.
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
