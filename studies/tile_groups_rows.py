"""Magnetic tile with no place on both sides of the split, beside as many training images drawn without regard to it.

python -m studies.tile_groups_rows OUTPUT ROOT WEIGHTS

The second split tells what fewer training images cost by themselves. ROOT holds magnetic_tile. No finished row is run
twice. Writes benchmarks/results/tile_groups.jsonl; rows of r-s hold the image AUROC of both parts of their score.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from cavga.benchmark.experiments.accuracy import accuracy_experiments
from cavga.benchmark.experiments.experiment import TILE, Experiment
from cavga.benchmark.runner import run_experiment
from cavga.data.catalog import load_catalog
from cavga.images.decode import read_image
from cavga.images.torch_resize import as_images
from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import load_run
from cavga.metrics.image import auroc
from cavga.model.prior import AggregatedPrior, Energies, largest_mean
from studies.rows import write_rows
from studies.tile_groups import write_grouped

RESULT = "tile_groups"
GROUPED = "magnetic_tile_groups.csv"
METHODS = ("r-s, recommended", "PaDiM, same features", "PatchCore, same features")


def main() -> None:
    """Write the manifest, run what is not finished, and write the file after each row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    args = parser.parse_args()
    place = args.output / "tile_groups"
    place.mkdir(parents=True, exist_ok=True)
    write_grouped(args.root / TILE, place / GROUPED)
    num_images = sum(record.split == "train" for record in load_catalog(place / GROUPED).records)
    rows = []
    for experiment, root, title in experiments_of(args.weights, place, args.root, num_images):
        row = {**run_experiment(experiment, root, place), "data": f"{TILE}, {num_images} training images, {title}"}
        if experiment.method == "cavga":
            row["image_auroc_of"] = parts_of(place / experiment.folder, args.root / TILE)
        rows.append(row)
        write_rows(RESULT, rows)


def experiments_of(weights: str, place: Path, root: Path, num_images: int) -> list[tuple[Experiment, Path, str]]:
    """Every experiment, the folder that its data lies in, and what its split is called."""
    experiments = {
        experiment.name: experiment
        for experiment in accuracy_experiments((0,), weights)
        if experiment.data == TILE and experiment.name in METHODS
    }
    chosen = [experiments[name] for name in METHODS]
    return [
        *((replace(experiment, data=GROUPED), place, "no place on both sides") for experiment in chosen),
        *((replace(experiment, num_images=num_images), root, "drawn by the seed") for experiment in chosen),
    ]


@torch.inference_mode()
def parts_of(run: Path, data: Path) -> dict[str, float]:
    """Image AUROC of the mixture alone and of the factor model alone; the score is the larger of the two."""
    engine, _ = load_run(run, "auto")
    assert isinstance(engine.graph, InferenceGraph)
    model = engine.graph.model
    prior = model.prior
    assert isinstance(prior, AggregatedPrior)
    tested, energies = load_catalog(data).split("test"), []
    for record in tested:
        photograph = torch.from_numpy(engine.resize(read_image(record.path)))[None].to(engine.device)
        energies.append(prior.energies(model.encode(as_images(photograph)).mu))
    found = Energies.joined(energies)
    local = largest_mean((found.local - prior.cell_scales[0, 0]) / prior.cell_scales[0, 1])
    labels = [int(record.label or 0) for record in tested]
    scores = {"mixture": local, "factor model": found.flat_score}
    return {name: auroc(values.cpu().numpy(), labels) for name, values in scores.items()}


if __name__ == "__main__":
    main()
