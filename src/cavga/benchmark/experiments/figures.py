"""The experiments of the paper's Figures 1, 3, 4 and 5: those of its tables, and one that no table has."""

from collections.abc import Sequence
from dataclasses import replace

from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.experiments.table_8_and_weak import table8_experiments
from cavga.benchmark.experiments.tables_3_to_6 import table3_experiments, table4_experiments

WITHOUT_EXPANSION = ", without L_ae"  # ends the name of the experiment that is trained with L + L_adv alone
SHOWN = ("r-u", "r-w")


def fig1_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """r-u with and without L_ae, and r-w, with preset `paper`: with the other one no map depends on L_ae."""
    experiments = []
    for experiment in _shown(table3_experiments(seeds, weights)):
        if experiment.preset != "paper":
            continue
        if experiment.kind == "r-u":
            overrides = merge(experiment.overrides, {"loss": {"attention_weight": 0.0}})
            note = "; ".join(part for part in (experiment.note, "w_ae = 0") if part)
            experiments.append(
                replace(experiment, name=experiment.name + WITHOUT_EXPANSION, overrides=overrides, note=note)
            )
        experiments.append(experiment)
    return experiments


def fig3_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """Table 3's r-u and r-w with both presets, and Table 4's where its data set is there."""
    scenes = [replace(experiment, is_extra=True) for experiment in _shown(table4_experiments(seeds, weights))]
    return [*_shown(table3_experiments(seeds, weights)), *scenes]


def fig4_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """Table 3's r-u and r-w with both presets."""
    return _shown(table3_experiments(seeds, weights))


def fig5_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """Table 8's c1 to c8."""
    columns = tuple(f"c{number}: " for number in range(1, 9))
    return [experiment for experiment in table8_experiments(seeds, weights) if experiment.name.startswith(columns)]


def _shown(experiments: Sequence[Experiment]) -> list[Experiment]:
    return [experiment for experiment in experiments if experiment.method == "cavga" and experiment.kind in SHOWN]
