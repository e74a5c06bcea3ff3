"""Table 1: which of the paper's working properties our variants and the baselines have. Nothing is trained.

What can be counted is: models are built at the input size, with random weights, and their map and latent measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from cavga.benchmark.baselines.index import BASELINES, FITTED, LABELLED, ON_FEATURES, TRAINED, Baseline, of_kind
from cavga.benchmark.baselines.label_classifier import ExplanationGraph
from cavga.benchmark.baselines.networks import NetworkGraph
from cavga.benchmark.experiments.index import PROPERTIES_TABLE
from cavga.benchmark.experiments.selection import Selection
from cavga.config.presets import PRESETS, make_config
from cavga.config.variant import VARIANTS
from cavga.errors import CavgaError, UsageError, unknown_name
from cavga.images.torch_resize import as_images
from cavga.inference.graph import ScoringGraph, graph_of
from cavga.model.build import build
from cavga.model.cavga import Cavga

PROPERTIES = (
    "not using anomalous training images",
    "localize multiple modes of anomalies",
    "pixel (not patch) based localization",
    "use convolutional latent variable",
)
YES, NO, NOT_SHOWN = "yes", "no", "not shown"
IMAGE_SIZE = (256, 256)  # the paper's
TEST_OF = {  # the test that shows an answer
    "u draws none": "tests/training/test_inputs.py::test_other_variants_take_no_bad_images",
    "w draws": "tests/training/test_inputs.py::test_without_labelled_ones_some_of_the_test_set_are_drawn_by_seed",
    "s makes its own": "tests/benchmark/tables/test_table_1.py::test_s_variants_train_without_any_image_labelled_bad",
    "labels": "tests/benchmark/baselines/test_explanations.py::test_lag_from_its_files_to_the_rows",
    "modes": "tests/benchmark/tables/test_table_1.py::test_two_kinds_of_anomaly_in_one_image_are_both_marked",
    "modes, trained": "tests/benchmark/baselines/test_trained.py::test_two_kinds_in_one_image_are_both_marked",
    "modes, compared": "tests/benchmark/baselines/test_compared.py::test_two_kinds_in_one_image_are_both_marked",
    "grid": "tests/benchmark/tables/test_table_1.py::test_the_map_is_constant_in_no_finer_cells_than_the_grid_says",
    "latent": "tests/benchmark/tables/test_table_1.py::test_the_latent_is_the_one_that_the_model_computes",
}


@dataclass(frozen=True)
class Answer:
    """Whether a method has a property, why, and the test that shows it ("" where none does)."""

    answer: str
    """YES, NO or NOT_SHOWN."""
    why: str
    test: str


@dataclass(frozen=True)
class Method:
    """One row: a variant with its preset, or a baseline."""

    name: str
    kind: str
    preset: str | None
    """None of a baseline."""


def methods(selection: Selection) -> list[Method]:
    """The wanted rows; raises UsageError for names that the table does not have."""
    if selection.datasets or selection.categories or selection.epochs is not None:
        raise UsageError(
            f"{PROPERTIES_TABLE} takes no data and trains nothing: only --variants and --preset choose rows"
        )
    ours = [
        Method(f"{variant}, {preset}", variant, preset)
        for preset in reversed(PRESETS)
        for variant in sorted(VARIANTS, key=lambda name: ("uws".index(VARIANTS[name].supervision), name))
        if preset != "paper" or VARIANTS[variant].supervision != "s"
    ]
    found = [*ours, *(Method(baseline.title, kind, None) for kind, baseline in BASELINES.items())]
    for name in selection.variants:
        if name not in {method.kind for method in found}:
            raise unknown_name("variant", name, dict.fromkeys(method.kind for method in found))
    if selection.preset is not None and selection.preset not in PRESETS:
        raise unknown_name("preset", selection.preset, PRESETS)
    return [
        method
        for method in found
        if (not selection.variants or method.kind in selection.variants) and selection.preset in (None, method.preset)
    ]


def property_rows(selection: Selection, image_size: tuple[int, int] = IMAGE_SIZE) -> Iterator[dict[str, Any]]:
    """One row a method, as the JSON file has it; one that cannot be built here has an error."""
    for method in methods(selection):
        row: dict[str, Any] = {"cell": method.name, "kind": method.kind, "preset": method.preset, "error": None}
        row |= {"input": list(image_size), "grid": None, "latent": None, "properties": {}}
        try:
            graph = build_method(method, image_size)
            grid = native_grid(graph, image_size)
            # The model whose features a baseline reads has a latent that the baseline does not.
            latent = None if method.kind in of_kind(ON_FEATURES) else latent_shape(graph, image_size)
        except CavgaError as error:
            yield {**row, "error": str(error)}
            continue
        answers = (_data_answer(method), _modes_answer(method), _grid_answer(grid, image_size), _latent_answer(latent))
        named = {name: vars(answer) for name, answer in zip(PROPERTIES, answers, strict=True)}
        yield {**row, "grid": list(grid), "latent": None if latent is None else list(latent), "properties": named}


def build_method(method: Method, image_size: tuple[int, int]) -> ScoringGraph:
    """The method's graph in eval mode, with random weights; a baseline that has to be fitted is, to two images."""
    torch.manual_seed(0)
    size = {"data": {"image_size": image_size}}
    if method.preset is not None:
        config = make_config(method.preset, size, {"model": {"variant": method.kind}})
        return graph_of(build(config.model, image_size=image_size), config).eval()
    return _build_baseline(BASELINES[method.kind], image_size).eval()


def _build_baseline(found: Baseline, image_size: tuple[int, int]) -> ScoringGraph:
    """The graph of a baseline; one that has to be fitted before it scores is fitted to two images."""
    size = {"data": {"image_size": image_size}}
    graph: Any
    if found.kind == TRAINED:
        graph = found.make(make_config("paper", size, {"model": {"variant": "d-u"}}))
    elif found.kind == FITTED:
        model = {"variant": "r-u", "weights": "none", "stages": (3,)}
        graph = found.make(make_config("recommended", size, {"model": model}))
        noise = np.random.default_rng(0).integers(0, 256, (2, *image_size, 3), dtype=np.uint8)
        graph.fit(noise, torch.device("cpu"))
    elif found.kind == LABELLED:
        config = make_config("recommended", size, {"model": {"variant": "r-w", "weights": "none", "stages": (4,)}})
        graph = ExplanationGraph(found.make, config, np.zeros((0, *image_size, 3), dtype=np.uint8))
    else:
        config = make_config("recommended", size, {"model": {"variant": "r-u"}})
        graph = found.make(build(config.model, image_size=image_size), image_size=image_size, seed=0)
        graph.fit(np.full((2, *image_size, 3), 128, dtype=np.uint8), torch.device("cpu"))
    return graph


class _Enlarging(TorchFunctionMode):
    """Notes the size of every map of one channel that is interpolated to the input size."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.image_size, self.grids = image_size, list[tuple[int, int]]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.interpolate and tuple(kwargs.get("size") or ()) == self.image_size:
            _, channels, rows, columns = args[0].shape
            if channels == 1:
                self.grids.append((rows, columns))
        return func(*args, **kwargs)


def native_grid(graph: ScoringGraph, image_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the map before it is enlarged to the input size; the input size where it is not."""
    photographs = torch.randint(0, 256, (1, *image_size, 3), dtype=torch.uint8)
    with torch.no_grad(), _Enlarging(image_size) as noted:
        graph.score_images(as_images(photographs))
    return noted.grids[0] if noted.grids else image_size


def latent_shape(graph: ScoringGraph, image_size: tuple[int, int]) -> tuple[int, ...] | None:
    """Channels, rows and columns of mu, channels alone of a vector; None of a method without a latent variable."""
    if isinstance(graph, NetworkGraph) and graph.method.units is not None:
        return (graph.method.units,)
    model = getattr(graph, "model", None)
    model = getattr(model, "autoencoder", model)
    if not isinstance(model, Cavga):
        return None
    with torch.no_grad():
        mu = model.encode(torch.zeros(1, 3, *image_size)).mu
    return tuple(mu.shape[1:2]) if mu.shape[2:] == (1, 1) else tuple(mu.shape[1:])


def _data_answer(method: Method) -> Answer:
    supervision = VARIANTS[method.kind].supervision if method.kind in VARIANTS else None
    if supervision == "w":
        return Answer(NO, "2 % of the anomalous images, labelled, if none is labelled for training", TEST_OF["w draws"])
    if method.kind in of_kind(LABELLED):
        return Answer(NO, "it explains a classifier of image labels", TEST_OF["labels"])
    if supervision == "s":
        why = (
            "it makes its own on the good images; with pretrained weights it would use labelled ones if there were any"
        )
        return Answer(YES, why, TEST_OF["s makes its own"])
    return Answer(YES, "good images only, thresholds included", TEST_OF["u draws none"])


def _modes_answer(method: Method) -> Answer:
    if method.preset == "paper":
        why = "at the budgets that were run here near chance in pixels, or far below the baselines (docs/claims.md)"
        return Answer(NOT_SHOWN, why, "")
    found = BASELINES.get(method.kind)
    if found is not None and found.no_modes:
        return Answer(NOT_SHOWN, found.no_modes, "")
    if found is not None and found.kind in (TRAINED, FITTED):
        shown = "modes, compared" if found.paper else "modes, trained"
        return Answer(YES, "a brighter and a darker place in one image", TEST_OF[shown])
    return Answer(YES, "a brighter and a darker place in one image", TEST_OF["modes"])


def _grid_answer(grid: tuple[int, int], image_size: tuple[int, int]) -> Answer:
    if grid == image_size:
        return Answer(YES, "a value for every pixel", TEST_OF["grid"])
    patch = f"{image_size[0] // grid[0]} x {image_size[1] // grid[1]} px"
    return Answer(NO, f"{grid[0]} x {grid[1]} patches of {patch}, enlarged to pixels", TEST_OF["grid"])


def _latent_answer(latent: Sequence[int] | None) -> Answer:
    if latent is None:
        return Answer(NO, "no latent variable", TEST_OF["latent"])
    if len(latent) == 1:
        return Answer(NO, f"a vector of {latent[0]} units", TEST_OF["latent"])
    return Answer(YES, f"{latent[1]} x {latent[2]} x {latent[0]}", TEST_OF["latent"])
