"""One model for many kinds of part beside one each, on the 12 papers of PIPED: image AUROC of each paper, and the mean.

Both see the same photographs with the same settings; thresholds play no part. A file's name begins with its paper.
"""

import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.scale.made_sets import small_config
from cavga.inference.detector import AnomalyDetector
from cavga.metrics.image import auroc
from cavga.scale.categories import train_categories
from cavga.scale.loading import routed_models
from cavga.scale.score_lists import OneModel, Scorer
from cavga.scale.work_list import Item
from cavga.training.train import train

SIDE = 128


def measure_joint(data: Path, folder: Path) -> list[dict[str, Any]]:
    """A row a paper, and one of means."""
    papers = _papers(data, "train/good")
    apart = _manifest(folder / "apart.csv", papers)
    train_categories(apart, folder / "apart", small_config(side=SIDE))
    joint = folder / "joint"
    if not (joint / "model.json").is_file():
        train(data / "train/good", joint, small_config(side=SIDE), with_export=False)
    good, bad = _papers(data, "test/good"), _papers(data, "test/impurity")
    scorers = {
        "apart": routed_models(folder / "apart", "cpu"),
        "joint": OneModel(AnomalyDetector.load_in_torch(joint, device="cpu")),
    }
    rows: list[dict[str, Any]] = []
    for paper in sorted(papers):
        row: dict[str, Any] = {"paper": paper, "train": len(papers[paper]), "test": len(good[paper] + bad[paper])}
        for name, scorer in scorers.items():
            scores = _scores(scorer, paper, good[paper]), _scores(scorer, paper, bad[paper])
            labels = [label for label, part in enumerate(scores) for _ in part]
            row[name] = round(auroc([*scores[0], *scores[1]], labels) or 0.0, 4)
        rows.append(row)
    return [*rows, {"paper": "mean", **{name: round(mean(row[name] for row in rows), 4) for name in scorers}}]


def _papers(data: Path, part: str) -> dict[str, list[Path]]:
    """The photographs of each paper in a folder."""
    found = defaultdict(list)
    for path in sorted((data / part).glob("*.png")):
        found[path.name.partition("_")[0]].append(path.absolute())
    return found


def _manifest(path: Path, papers: dict[str, list[Path]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "category"])
        table.writerows([photograph, paper] for paper, found in papers.items() for photograph in found)
    return path


def _scores(scorer: Scorer, paper: str, paths: list[Path]) -> list[float]:
    return [scored.result.score for scored in scorer.results([Item(str(path), str(path), paper) for path in paths])]
