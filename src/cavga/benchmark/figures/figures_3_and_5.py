"""Figures 3 and 5: test images through the models of Tables 3 and 4, and through the columns of Table 8."""

from collections.abc import Sequence
from html import escape

from cavga.benchmark.figures.files import Drawing
from cavga.benchmark.figures.finished_runs import FinishedRun, by_place, median_of_each_type
from cavga.benchmark.figures.strips import READING, model_maps, strip
from cavga.data.records import NORMAL
from cavga.rendering.html import hint

TITLE_3 = "Figure 3: what the models find"
TITLE_5 = "Figure 5: the ablation in pictures"
RULE = (
    "Of each type of defect one test image: the one with the median score of {first}, among those that every model "
    "shown was tested on. None is picked by hand."
)


def draw_results(runs: Sequence[FinishedRun]) -> Drawing:
    """Figure 3 from the runs of experiments.figures.fig3_experiments."""
    return _draw(runs)


def draw_ablation(runs: Sequence[FinishedRun]) -> Drawing:
    """Figure 5 from the runs of experiments.figures.fig5_experiments, c1 to c8 from left to right."""
    return _draw(sorted(runs, key=lambda run: run.experiment.name))


def _draw(runs: Sequence[FinishedRun]) -> Drawing:
    body, shown = hint(READING), []
    for place, of_place in by_place(runs).items():
        images = median_of_each_type(of_place)
        columns = [model_maps(run, run.experiment.name, images) for run in of_place]
        strips = "".join(
            strip(image, models, title=place) for image, models in zip(images, zip(*columns, strict=True), strict=True)
        )
        first = of_place[0]
        body += f"<section><h2>{escape(place)}</h2>{hint(RULE.format(first=first.experiment.name))}{strips}</section>"
        shown += [
            {"place": place, "path": path, "defect_type": image.record.defect_type,
             "iou": {run.experiment.name: overlap.iou if (overlap := run.overlaps.get(path)) else None
                     for run in of_place}}
            for image in images if image.record.label != NORMAL
            for path in [image.record.relative_path]
        ]  # fmt: skip
    return Drawing(body, {"shown": shown})
