"""Write docs/results/: a page a question, from benchmarks/results/*.jsonl and the paper's figures (reported.json).

python -m docs.generate.results
"""

from collections.abc import Callable
from pathlib import Path

from docs.generate import own_tables
from docs.generate.carry_over import carry_over
from docs.generate.deployment import deployment_page
from docs.generate.figures import figures
from docs.generate.guided_attention import guided_attention
from docs.generate.marks import marks
from docs.generate.marks_figure import marks_figure
from docs.generate.new_sets import new_sets
from docs.generate.own_shape import own_shape
from docs.generate.paper_tables import one_class_normal, paper_tables
from docs.generate.readings import figure as figure_of_readings
from docs.generate.readings import readings
from docs.generate.scale import scale
from docs.generate.serving import serving
from docs.generate.studies import factors, map_limits, training_data
from docs.generate.tables import Page, wrapped
from docs.generate.thresholds import thresholds

FOLDER = Path(__file__).parents[1] / "results"
PAGES: dict[str, Callable[[], Page]] = {
    "real-sets": own_tables.real_sets,
    "new-sets": new_sets,
    "textures": own_tables.textures,
    "what-each-part-adds": own_tables.parts,
    "guided-attention": guided_attention,
    "five-clicks": marks,
    "encoders": own_tables.encoders,
    "own-shape": own_shape,
    "carry-over": carry_over,
    "thresholds": thresholds,
    "training-data": training_data,
    "weak-supervision": own_tables.weak_supervision,
    "paper-tables": paper_tables,
    "one-class-normal": one_class_normal,
    "figures": figures,
    "readings": readings,
    "map-limits": map_limits,
    "factors": factors,
    "earlier-prior": own_tables.earlier_prior,
    "baselines": own_tables.baselines,
    "deployment": deployment_page,
    "serving": serving,
    "scale": scale,
}
# docs/images/NAME.svg
PICTURES: dict[str, Callable[[], str]] = {"readings": figure_of_readings, "five-clicks": marks_figure}
INDEX = """# Results

Every figure that was measured, by question. `make results` writes these pages from `benchmarks/results/*.jsonl`.

{pages}

The commands are in [benchmarks/README.md](../../benchmarks/README.md) and
[studies/README.md](../../studies/README.md). What the paper claims, and our verdicts, are in [claims](../claims.md).

## How to read the tables

- **Thresholds** come from held-out normal images. Two exceptions: columns marked oracle, whose threshold is chosen on
  the test masks, and rows of preset `paper`, which has fixed cuts.
- **Recall and false alarms** are of images, at that threshold.
- **Pixel figures** are at the model's input size, over all test pixels at once. Pixel AP is the average precision.
  AUPRO goes up to a false-positive rate of 0.3.
- **Pixel F1 (oracle)** is the best F1 that one threshold reaches. It is computed from the stored oracle IoU: F1 = 2
  IoU / (1 + IoU). Either rises with the other, so one threshold is best for both.
- **IoU** is of the anomalous class. It stands on the [paper's own tables](paper-tables.md) alone.
- **±** is the standard deviation over seeds, and figures are means over seeds.
- **Converged** means that the objective moved by less than 1 % in each of the last two epochs. Where **the rate fell**
  there is no verdict, for a still objective says nothing then: of `paper` it fell to a tenth every 30 epochs, to 1e-8
  at the end of 150, before [decision 0026](../decisions/0026-readings.md), and falls to 0 since; of r-s that is trained
  from nothing it falls to about 0.
- **Minutes** are those of one core of a shared machine, an order of magnitude. On a GPU they are those of one H200
  and one core of its machine, with up to 15 other runs at the same time.
- **PaDiM and PatchCore** are [baselines](baselines.md) on the features of the row that they stand beside.
- **What is not shown** is in the JSONL, one row a line: balanced accuracy, IoU at the threshold, per image and as
  U-Flow counts it, every figure by defect type, intervals, minutes of each run, machine, versions, seed and data
  hash.
- **What was chosen on what.** Settings of `recommended` were chosen on the textures and on synthetic anomalies
  on training images ([decisions](../decisions/)), with two exceptions on which real test images had a say. The factor
  model stays in the image's score although synthetic anomalies speak against it by half a point: it was planned
  before any figure was seen, and real figures agreed ([0011](../decisions/0011-aggregated-prior.md)). A candidate for
  C that synthetic anomalies spoke for was left out because test images spoke against it
  ([0015](../decisions/0015-every-cell-every-image.md)). So the default's figures on magnetic tile, screw, juice bottle
  and ELPV lean optimistic by what that is worth; most of its lead there is the factor model's ([real
  sets](real-sets.md)).
"""


def main() -> None:
    """Write every page, their index, and the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    for name, draw in PICTURES.items():
        (FOLDER.parent / "images" / f"{name}.svg").write_text(draw(), encoding="utf-8")


def texts() -> dict[str, str]:
    """What every page says, by its name."""
    pages = {name: make() for name, make in PAGES.items()}
    listed = "\n".join(f"- [{page.title}]({name}.md). {page.asked}" for name, page in pages.items())
    return {"index": wrapped(INDEX.format(pages=listed)), **{name: page.text() for name, page in pages.items()}}


if __name__ == "__main__":
    main()
