"""Which experiments of a table are run: all of them, or some, or all of them cut short."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cavga.benchmark.baselines.index import BASELINES, TRAINED
from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.experiments.index import SUMMARIES, TABLES
from cavga.config.resolve import takes_gan_weights
from cavga.config.schema import epochs_of
from cavga.data.readers.layouts import normalised_name
from cavga.errors import UsageError, unknown_name

NO_GAN_WEIGHTS = "no Celeb-A"  # where the paper has DC-GAN parts that were trained on it, these start at random


@dataclass(frozen=True)
class Selection:
    """What of a table is wanted; an empty sequence means everything."""

    seeds: Sequence[int] = (0,)
    weights: str | None = None
    """Of encoder r: "imagenet" (also None), "none" or a file."""
    datasets: Sequence[str] = ()
    """Folders below the data root, or the data sets they belong to (mvtec_ad)."""
    categories: Sequence[str] = ()
    """Categories, scenes or normal classes."""
    variants: Sequence[str] = ()
    """Variants (r-u) and baselines (padim)."""
    preset: str | None = None
    epochs: int | None = None
    """Train no longer than this; says so in the row's note."""
    gan_weights: Path | None = None
    """What the DC-GAN parts of the rows of preset paper start from; says so in the row's note."""


def select_experiments(table: str, selection: Selection) -> list[Experiment]:
    """The experiments of a table that are wanted, and those they stand on; raises UsageError for an unknown name."""
    if table in SUMMARIES:
        raise UsageError(f"{table} trains nothing: run it without --estimate")
    if table not in TABLES:
        raise unknown_name("table or figure", table, sorted([*SUMMARIES, *TABLES]))
    if selection.epochs is not None and selection.epochs < 1:
        raise UsageError(f"--epochs must be at least 1, got {selection.epochs}")
    experiments = [
        _with_gan_weights(experiment, selection.gan_weights)
        for experiment in TABLES[table](selection.seeds, selection.weights)
    ]
    selection = replace(selection, datasets=_data_names(selection.datasets, experiments))
    _check_names("category", selection.categories, [experiment.part for experiment in experiments if experiment.part])
    _check_names("variant", selection.variants, [experiment.kind for experiment in experiments])
    if selection.preset is not None:
        _check_names("preset", [selection.preset], [experiment.preset for experiment in experiments])
    wanted = [experiment for experiment in experiments if _is_wanted(experiment, selection)]
    if not wanted:
        raise UsageError(f"{table} has no experiment of all that was asked for: leave out a restriction")
    chosen = _with_needed(experiments, wanted)
    return chosen if selection.epochs is None else [_cut(experiment, selection.epochs) for experiment in chosen]


def _data_names(names: Sequence[str], experiments: Sequence[Experiment]) -> list[str]:
    """Data sets as their folders are called, however they are spelled ("fashion_mnist")."""
    known = {
        normalised_name(name): name for experiment in experiments for name in (experiment.data, experiment.set_name)
    }
    for name in names:
        if normalised_name(name) not in known:
            raise unknown_name("data set", name, known.values())
    return [known[normalised_name(name)] for name in names]


def _check_names(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    found = list(dict.fromkeys(known))
    for name in names:
        if not found:
            raise UsageError(f"no {what} can be chosen here, got {name!r}: leave the flag out")
        if name not in found:
            raise unknown_name(what, name, found)


def _is_wanted(experiment: Experiment, selection: Selection) -> bool:
    return (
        (not selection.datasets or experiment.data in selection.datasets or experiment.set_name in selection.datasets)
        and (not selection.categories or experiment.part in selection.categories)
        and (not selection.variants or experiment.kind in selection.variants)
        and (selection.preset is None or experiment.preset == selection.preset)
    )


def _with_needed(experiments: Sequence[Experiment], wanted: Sequence[Experiment]) -> list[Experiment]:
    """The wanted experiments and those whose features or training images they need, in the table's order."""
    by_key = {_key(experiment): experiment for experiment in experiments}
    keys, queue = set(), list(wanted)
    while queue:
        experiment = queue.pop()
        if _key(experiment) not in keys:
            keys.add(_key(experiment))
            needed = [
                _key(replace(experiment, name=name)) for name in (experiment.features_of, experiment.without) if name
            ]
            queue += [by_key[key] for key in needed if key in by_key]
    return [experiment for key, experiment in by_key.items() if key in keys]


def _key(experiment: Experiment) -> tuple[str, str, str | None, int | str | None, int]:
    return experiment.name, experiment.data, experiment.chosen, experiment.num_images, experiment.seed


def _with_gan_weights(experiment: Experiment, path: Path | None) -> Experiment:
    """A row of preset paper that starts from GAN weights, or whose note says that the paper's are missing."""
    if experiment.method != "cavga" or experiment.preset != "paper":
        return experiment
    config = experiment.config()
    if not takes_gan_weights(config.model, config.loss):
        return experiment
    if path is None:
        return _noted(experiment, NO_GAN_WEIGHTS)
    overrides = merge(experiment.overrides, {"model": {"gan_weights": str(path)}})
    return _noted(replace(experiment, overrides=overrides), f"GAN weights {path.name}")


def _noted(experiment: Experiment, note: str) -> Experiment:
    """The experiment with one more note."""
    return replace(experiment, note=f"{experiment.note}; {note}" if experiment.note else note)


def _cut(experiment: Experiment, epochs: int) -> Experiment:
    """The experiment with at most so many epochs, which its note says where it would have had more."""
    full = epochs_of(experiment.config())
    found = BASELINES.get(experiment.method)
    if (found is not None and found.kind != TRAINED) or full <= epochs:
        return experiment
    overrides = merge(experiment.overrides, {"training": {"epochs": epochs}})
    return _noted(replace(experiment, overrides=overrides), f"cut to {epochs} of {full} epochs")
