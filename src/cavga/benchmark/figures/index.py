"""A figure of the paper from its experiments: those that are missing are run, then its page is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.figures import figure_1i, figure_4, figures_3_and_5
from cavga.benchmark.figures.files import Drawing, command_of, write_figure
from cavga.benchmark.figures.finished_runs import FinishedRun, finished_runs
from cavga.benchmark.runner import TableRun, run_table
from cavga.benchmark.tables.content import TableContent
from cavga.benchmark.tables.grids import Row


@dataclass(frozen=True)
class Figure:
    """What a figure is called, and what draws it from its finished experiments."""

    title: str
    draw: Callable[[Sequence[FinishedRun]], Drawing]


FIGURES = {
    "fig1": Figure(figure_1i.TITLE, figure_1i.draw),
    "fig3": Figure(figures_3_and_5.TITLE_3, figures_3_and_5.draw_results),
    "fig4": Figure(figure_4.TITLE, figure_4.draw),
    "fig5": Figure(figures_3_and_5.TITLE_5, figures_3_and_5.draw_ablation),
}


def run_figure(
    name: str,
    output: Path,
    *,
    data: Path | None = None,
    selection: Selection | None = None,
    on_row: Callable[[Row], None] = lambda _row: None,
    only_finished: bool = False,
) -> TableRun:
    """Run the unfinished experiments of a figure, of the first seed, and write OUTPUT/<figure>.html and .json.

    Raises what `run_table` raises. Experiments that failed are named on the page.
    """
    selection = first_seed(selection or Selection())
    done = run_table(name, output, data=data, selection=selection, on_row=on_row, write=_nothing,
                     only_finished=only_finished)  # fmt: skip
    runs = finished_runs(done, name, output, data=data or output, epochs=selection.epochs)
    content = TableContent(name, done.rows, done.num_experiments, done.absent, None)
    figure = FIGURES[name]
    files = write_figure(output, figure.title, command_of(name, selection), content, figure.draw(runs))
    return replace(done, files=files)


def first_seed(selection: Selection) -> Selection:
    """The selection with its first seed alone: a picture is of one run."""
    return replace(selection, seeds=selection.seeds[:1])


def _nothing(_output: Path, _content: TableContent) -> list[Path]:
    """A figure is drawn once its experiments are there: its maps take longer than a table's page."""
    return []
