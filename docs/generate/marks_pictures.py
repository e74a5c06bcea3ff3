"""Write docs/images/first-week-PAPER.png: what a run says of photographs before and after five others were marked.

python -m docs.generate.marks_pictures runs/demo OUTPUT

Each run of the demo is refitted to OUTPUT/PAPER, where it is not there yet, with the first five bad test photographs
as marks. Shown are the others that lay lowest before, the true defect outlined, and the good ones that lie highest
after.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import cavga
from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.images.decode import read_image
from cavga.images.masks import read_mask
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Prediction
from cavga.rendering.heatmaps import outline

PAPERS = ("BTN01",)
NUM_MARKS, NUM_SHOWN = 5, 5
SIDE, GAP, TEXT = 168, 6, 34  # px
RIGHT, WRONG = (39, 103, 73), (155, 44, 44)
WORDS = {True: ("missed", "found"), False: ("passed", "stopped")}  # of a bad photograph, of a good one


def main(demo: Path, output: Path) -> None:
    """One picture a paper."""
    for paper in PAPERS:
        records = load_catalog(demo / "data" / paper).split("test")
        bad, good = ([r for r in records if r.label == label] for label in (ANOMALOUS, NORMAL))
        run = output / paper
        if not run.is_dir():
            shutil.copytree(demo / paper, run)
            cavga.mark(run, bad=[record.path for record in bad[:NUM_MARKS]])
            cavga.refit(run)
        runs = [AnomalyDetector.load(folder) for folder in (demo / paper, run)]
        rows = [_row(runs, bad[NUM_MARKS:], highest=False), _row(runs, good, highest=True)]
        picture = Image.fromarray(np.vstack(rows)[:, :-GAP])
        picture.save(Path(__file__).parents[1] / f"images/first-week-{paper}.png", optimize=True)


def _row(runs: Sequence[AnomalyDetector], records: Sequence[ImageRecord], *, highest: bool) -> NDArray[np.uint8]:
    """The photographs that scored lowest before, or highest after, side by side, and what both runs say of them."""
    paths = [record.path for record in records]
    before, after = (list(run.predict(paths)) for run in runs)
    order = np.argsort([-p.score for p in after] if highest else [p.score for p in before])
    return np.hstack([_panel(records[i], before[i], after[i]) for i in order[:NUM_SHOWN]])


def _panel(record: ImageRecord, before: Prediction, after: Prediction) -> NDArray[np.uint8]:
    photograph = np.asarray(Image.fromarray(read_image(record.path)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    is_bad = record.label == ANOMALOUS
    canvas = Image.new("RGB", (SIDE + GAP, SIDE + TEXT), "white")
    canvas.paste(Image.fromarray(outline(photograph, read_mask(record.mask_paths)) if is_bad else photograph), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for i, (name, said) in enumerate((("before", before), ("after", after))):
        verdict = WORDS[is_bad][said.is_anomalous]
        text = f"{name}: {verdict}, {said.score:.3f} {'>=' if said.is_anomalous else '<'} {said.threshold:.3f}"
        pen.text((0, SIDE + 3 + 13 * i), text, fill=RIGHT if said.is_anomalous == is_bad else WRONG)
    return np.asarray(canvas)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
