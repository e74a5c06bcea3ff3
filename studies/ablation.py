"""What each part of `recommended` adds: variant r-s with one part left out at a time.

python -m studies.ablation OUTPUT ROOT WEIGHTS [--seeds 0,1,2] [--datasets A,B] [--finished]

OUTPUT is that of `cavga benchmark`: rows with nothing left out are those of its tables textures and accuracy, and no
finished row is run twice. ROOT holds magnetic_tile and mvtec_ad/screw. Writes benchmarks/results/ablation.jsonl;
--finished runs nothing and writes the rows that are there.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cavga.benchmark.experiments.accuracy import accuracy_experiments, texture_experiments
from cavga.benchmark.experiments.experiment import SCREW, TILE, Experiment, Overrides, merge
from cavga.benchmark.runner import ROW_FILE, run_experiment
from cavga.benchmark.textures import TEXTURES, write_textures
from cavga.synthetic import strong
from cavga.synthetic.strong import STRONG_TYPES
from cavga.synthetic.subtle import SUBTLE_TYPES
from cavga.training import fit_guided_head
from studies.rows import write_rows

RESULT = "ablation"
FULL = "r-s, recommended"
# With pretrained weights the image's score is the energy alone: anomaly types and losses change the map alone there.
END_TO_END: tuple[tuple[str, Overrides, str], ...] = (
    ("without L and the decoder", {"loss": {"vae_weight": 0.0}}, "w_r = 0"),
    ("without L_bce", {"loss": {"classification_weight": 0.0}}, "w_c = 0"),
    ("without L_cga", {"loss": {"region_weight": 0.0}}, "region_weight = 0: labels of images alone"),
    ("with L_adv", {"loss": {"adversarial_weight": 0.01}}, "w_adv = 0.01, as many steps"),
)
PRETRAINED: tuple[tuple[str, Overrides, str], ...] = (
    ("without whitening", {"model": {"whitening": 0.0}}, "principal directions as they are"),
    ("whitened wholly", {"model": {"whitening": 0.5}}, "every direction with a variance of 1"),
)


@dataclass(frozen=True)
class Row:
    """An experiment, the table whose folder it lies in, and the anomaly type that is left out of its training."""

    experiment: Experiment
    table: str = "ablation"
    without: str | None = None


def main() -> None:
    """Run what is not finished, one row after another, and write the file after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--datasets", default=",".join((*TEXTURES, TILE, SCREW)))
    parser.add_argument("--finished", action="store_true")
    args = parser.parse_args()
    write_textures(args.output / "data")
    rows = []
    for seed in map(int, args.seeds.split(",")):
        for row in rows_of(seed, args.weights):
            is_there = (args.output / row.table / row.experiment.folder / ROW_FILE).is_file()
            if row.experiment.data in args.datasets.split(",") and (is_there or not args.finished):
                rows.append(run_row(row, args.root, args.output))
                write_rows(RESULT, rows)


def run_row(row: Row, root: Path, output: Path) -> dict[str, object]:
    """As `cavga.benchmark.runner.run_experiment`, with an anomaly type left out if the row says so."""
    data = output / "data" if row.experiment.data in TEXTURES else root
    with left_out(row.without):
        return run_experiment(row.experiment, data, output / row.table)


def rows_of(seed: int, weights: str) -> Iterator[Row]:
    """Every row of one seed: first those with nothing left out."""
    for table, experiments in (
        ("textures", texture_experiments((seed,), None)),
        ("accuracy", accuracy_experiments((seed,), weights)),
    ):
        wanted = [item for item in experiments if item.name == FULL and item.data in (*TEXTURES, TILE, SCREW)]
        for full in wanted:
            yield Row(full, table)
            is_texture = full.data in TEXTURES
            for name, overrides, note in END_TO_END if is_texture else PRETRAINED:
                yield Row(_changed(full, name, overrides, note))
            for kind in STRONG_TYPES if is_texture else SUBTLE_TYPES:
                yield Row(_changed(full, f"without made kind {kind}", {}, ""), without=kind)


def _changed(full: Experiment, name: str, overrides: Overrides, note: str) -> Experiment:
    return Experiment(name, full.data, overrides=merge(full.overrides, overrides), seed=full.seed, note=note)


@contextmanager
def left_out(kind: str | None) -> Iterator[None]:
    """Train without one type of synthetic anomaly; the shares of the others keep their ratios."""
    bold = {name: synthesise for name, synthesise in STRONG_TYPES.items() if name != kind}
    total = sum(share for _, share in bold.values())
    shares = [share / total for _, share in bold.values()]
    kinds = tuple(name for name in SUBTLE_TYPES if name != kind)
    with (
        patch.object(strong, "STRONG_NAMES", tuple(bold)),
        patch.object(strong, "SHARES", strong.SHARES if kind is None else shares),
        patch.object(fit_guided_head, "SUBTLE_NAMES", kinds),
    ):
        yield


if __name__ == "__main__":
    main()
