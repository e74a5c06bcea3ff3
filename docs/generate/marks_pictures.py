"""Write docs/images/first-week-PAPER.png: defects that a run missed, before and after five others were marked.

python -m docs.generate.marks_pictures runs/demo OUTPUT

Each run of the demo is refitted to OUTPUT/PAPER, where it is not there yet, with the first five bad test photographs
as marks. Shown are the others that lay lowest before, the true defect outlined.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import cavga
from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS, ImageRecord
from cavga.images.decode import read_image
from cavga.images.masks import read_mask
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Prediction
from cavga.rendering.heatmaps import outline

PAPERS = ("BTN01",)
NUM_MARKS, NUM_SHOWN = 5, 5
SIDE, GAP, TEXT = 168, 6, 30  # px
FOUND, MISSED = (39, 103, 73), (155, 44, 44)


def main(demo: Path, output: Path) -> None:
    """One picture a paper."""
    for paper in PAPERS:
        records = [r for r in load_catalog(demo / "data" / paper).split("test") if r.label == ANOMALOUS]
        run = output / paper
        if not run.is_dir():
            shutil.copytree(demo / paper, run)
            cavga.mark(run, bad=[record.path for record in records[:NUM_MARKS]])
            cavga.refit(run)
        picture = picture_of(demo / paper, run, records[NUM_MARKS:])
        Image.fromarray(picture).save(Path(__file__).parents[1] / f"images/first-week-{paper}.png", optimize=True)


def picture_of(old: Path, new: Path, records: list[ImageRecord]) -> NDArray[np.uint8]:
    """The photographs that scored lowest, side by side, with what each run says of them."""
    paths = [record.path for record in records]
    before, after = (list(AnomalyDetector.load(run).predict(paths)) for run in (old, new))
    lowest = np.argsort([prediction.score for prediction in before])[:NUM_SHOWN]
    panels = [_panel(records[i], before[i], after[i]) for i in lowest]
    return np.hstack(panels)[:, :-GAP]


def _panel(record: ImageRecord, before: Prediction, after: Prediction) -> NDArray[np.uint8]:
    photograph = Image.fromarray(read_image(record.path)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIDE + GAP, SIDE + TEXT), "white")
    canvas.paste(Image.fromarray(outline(np.asarray(photograph), read_mask(record.mask_paths))), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for i, (name, said) in enumerate((("before", before), ("after", after))):
        verdict, sign, colour = ("found", ">=", FOUND) if said.is_anomalous else ("missed", "<", MISSED)
        text = f"{name}: {verdict}, {said.score:.2f} {sign} {said.threshold:.2f}"
        pen.text((0, SIDE + 3 + 13 * i), text, fill=colour)
    return np.asarray(canvas)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
