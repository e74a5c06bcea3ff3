"""Which cells of a table are run: all of them, or some, or all of them cut short."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cavga.benchmark.experiments.experiment import Cell, merge
from cavga.benchmark.experiments.index import SUMMARIES, TABLES
from cavga.config.resolve import takes_gan_weights
from cavga.config.schema import epochs_of
from cavga.data.readers.class_folders import letters_of
from cavga.errors import UsageError, unknown_name

NO_GAN_WEIGHTS = "no Celeb-A"  # where the paper has DC-GAN parts that were trained on it, these start at random


@dataclass(frozen=True)
class Choice:
    """What of a table is wanted; an empty sequence means everything."""

    seeds: Sequence[int] = (0,)
    weights: str | None = None
    """Of encoder r: "imagenet" (also None), "none" or a file."""
    datasets: Sequence[str] = ()
    """Folders below the data root, or the data sets they belong to (mvtec_ad)."""
    categories: Sequence[str] = ()
    """Categories, scenes or normal classes."""
    variants: Sequence[str] = ()
    """Variants (r-u) and controls (padim)."""
    preset: str | None = None
    epochs: int | None = None
    """Train no longer than this; says so in the row's note."""
    gan_weights: Path | None = None
    """What the DC-GAN parts of the rows of preset paper start from; says so in the row's note."""


def choose_cells(table: str, choice: Choice) -> list[Cell]:
    """The cells of a table that are wanted, and those they stand on; raises UsageError for a name it does not have."""
    if table in SUMMARIES:
        raise UsageError(f"{table} trains nothing: run it without --estimate")
    if table not in TABLES:
        raise unknown_name("table or figure", table, sorted([*SUMMARIES, *TABLES]))
    if choice.epochs is not None and choice.epochs < 1:
        raise UsageError(f"--epochs must be at least 1, got {choice.epochs}")
    cells = [_with_gan_weights(cell, choice.gan_weights) for cell in TABLES[table](choice.seeds, choice.weights)]
    choice = replace(choice, datasets=_data_names(choice.datasets, cells))
    _check_names("category", choice.categories, [cell.part for cell in cells if cell.part])
    _check_names("variant", choice.variants, [cell.kind for cell in cells])
    if choice.preset is not None:
        _check_names("preset", [choice.preset], [cell.preset for cell in cells])
    wanted = [cell for cell in cells if _is_wanted(cell, choice)]
    if not wanted:
        raise UsageError(f"{table} has no cell of all that was asked for: leave out a restriction")
    chosen = _with_needed(cells, wanted)
    return chosen if choice.epochs is None else [_cut(cell, choice.epochs) for cell in chosen]


def _data_names(names: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """Data sets as their folders are called, however they are spelled ("fashion_mnist")."""
    known = {letters_of(name): name for cell in cells for name in (cell.data, cell.set_name)}
    for name in names:
        if letters_of(name) not in known:
            raise unknown_name("data set", name, known.values())
    return [known[letters_of(name)] for name in names]


def _check_names(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    found = list(dict.fromkeys(known))
    for name in names:
        if not found:
            raise UsageError(f"no {what} can be chosen here, got {name!r}: leave the flag out")
        if name not in found:
            raise unknown_name(what, name, found)


def _is_wanted(cell: Cell, choice: Choice) -> bool:
    return (
        (not choice.datasets or cell.data in choice.datasets or cell.set_name in choice.datasets)
        and (not choice.categories or cell.part in choice.categories)
        and (not choice.variants or cell.kind in choice.variants)
        and (choice.preset is None or cell.preset == choice.preset)
    )


def _with_needed(cells: Sequence[Cell], wanted: Sequence[Cell]) -> list[Cell]:
    """The wanted cells and those whose features or training images they need, in the table's order."""
    by_key = {_key(cell): cell for cell in cells}
    keys, queue = set(), list(wanted)
    while queue:
        cell = queue.pop()
        if _key(cell) not in keys:
            keys.add(_key(cell))
            needed = [_key(replace(cell, name=name)) for name in (cell.features_of, cell.without) if name]
            queue += [by_key[key] for key in needed if key in by_key]
    return [cell for key, cell in by_key.items() if key in keys]


def _key(cell: Cell) -> tuple[str, str, str | None, int | str | None, int]:
    return cell.name, cell.data, cell.chosen, cell.num_images, cell.seed


def _with_gan_weights(cell: Cell, path: Path | None) -> Cell:
    """A row of preset paper that starts from GAN weights, or whose note says that the paper's are missing."""
    if cell.method != "cavga" or cell.preset != "paper":
        return cell
    config = cell.config()
    if not takes_gan_weights(config.model, config.loss):
        return cell
    if path is None:
        return _noted(cell, NO_GAN_WEIGHTS)
    overrides = merge(cell.overrides, {"model": {"gan_weights": str(path)}})
    return _noted(replace(cell, overrides=overrides), f"GAN weights {path.name}")


def _noted(cell: Cell, note: str) -> Cell:
    """The cell with one more note."""
    return replace(cell, note=f"{cell.note}; {note}" if cell.note else note)


def _cut(cell: Cell, epochs: int) -> Cell:
    """The cell with at most so many epochs, which its note says where it would have had more."""
    full = epochs_of(cell.config())
    if cell.method != "cavga" or full <= epochs:
        return cell
    overrides = merge(cell.overrides, {"training": {"epochs": epochs}})
    return _noted(replace(cell, overrides=overrides), f"cut to {epochs} of {full} epochs")
