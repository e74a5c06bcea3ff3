"""Table 1: what it says of every method is shown by a test that exists, and what it measures is what is built."""

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cavga.benchmark.baselines import padim, patchcore
from cavga.benchmark.baselines.index import BASELINES, TRAINED, of_kind
from cavga.benchmark.baselines.padim import PadimGraph
from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.tables.table_1 import PROPERTIES, TEST_OF, build_method, methods, property_rows
from cavga.config.presets import make_config
from cavga.config.variant import VARIANTS
from cavga.images.resize import resized
from cavga.images.torch_resize import as_images
from cavga.inference.detector import AnomalyDetector
from cavga.inference.torch_engine import TorchEngine, load_run
from cavga.model.cavga import Cavga
from cavga.training.inputs import gather_training_images
from cavga.training.train import train
from tests.conftest import is_one_complaint, run_command, small_config, texture

REPOSITORY = Path(__file__).parents[3]
SIZE = (64, 64)


@pytest.fixture(scope="module")
def rows():
    return {row["cell"]: row for row in property_rows(Selection(), SIZE)}


def test_every_test_that_is_named_exists(rows):
    for named in {*TEST_OF.values(), *(a["test"] for row in rows.values() for a in row["properties"].values())} - {""}:
        path, _, name = named.partition("::")
        tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, named


def test_every_variant_and_baseline_has_a_row_and_every_yes_a_test(rows):
    assert {row["kind"] for row in rows.values()} == {*VARIANTS, *BASELINES}
    for row in rows.values():
        assert row["error"] is None
        assert list(row["properties"]) == list(PROPERTIES)
        for answer in row["properties"].values():
            assert (answer["answer"] == "not shown") == (answer["test"] == ""), row["cell"]


def test_the_papers_own_map_has_as_many_cells_as_its_z(rows):
    paper, baseline = rows["r-u, paper"], rows["AE_L2"]
    assert (paper["grid"], paper["latent"]) == ([2, 2], [512, 2, 2])  # a patch for 32 px
    assert rows["r-u, recommended"]["grid"] == [8, 8]
    by_pixel = PROPERTIES[2]
    assert (paper["properties"][by_pixel]["answer"], baseline["properties"][by_pixel]["answer"]) == ("no", "yes")
    assert paper["properties"][by_pixel]["why"] == "2 x 2 patches of 32 x 32 px, enlarged to pixels"


@pytest.mark.parametrize("method", methods(Selection()), ids=lambda method: method.name)
def test_the_map_is_constant_in_no_finer_cells_than_the_grid_says(method, rows, monkeypatch):
    """A map of rows x columns patches, enlarged bilinearly, has at most that rank; one by pixels has more."""
    for module in (padim, patchcore):  # which blur the map after it is enlarged
        monkeypatch.setattr(module, "blurred_as_published", lambda anomaly_map: anomaly_map)
    graph = build_method(method, SIZE)
    images = as_images(torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8))
    with torch.no_grad():
        rank = torch.linalg.matrix_rank(graph.score_images(images).anomaly_map[0].double(), rtol=1e-5)
    few = min(rows[method.name]["grid"])
    assert rank <= few if few < SIZE[0] else rank > SIZE[0] // 4


@pytest.mark.parametrize(
    "method", [m for m in methods(Selection()) if m.kind in {*VARIANTS, *of_kind(TRAINED)}], ids=lambda m: m.name
)
def test_the_latent_is_the_one_that_the_model_computes(method, rows):
    model = build_method(method, SIZE).model
    model = getattr(model, "autoencoder", model)
    if not isinstance(model, Cavga):  # z is drawn or searched, if there is one
        units = rows[method.name]["latent"]
        assert units is not None or not hasattr(model, "decode")
        with torch.no_grad():
            assert units is None or model.decode(torch.zeros(2, *units, 1, 1)).shape == (2, 3, *SIZE)
        return
    with torch.no_grad():
        shape = list(model.encode(torch.rand(2, 3, *SIZE)).mu.shape[1:])
    assert rows[method.name]["latent"] == (shape if shape[1:] != [1, 1] else shape[:1])


@pytest.mark.parametrize("variant", ["r-s", "d-s"])
def test_s_variants_train_without_any_image_labelled_bad(category, variant):
    inputs = gather_training_images(category, small_config(variant=variant))
    assert (inputs.anomalous, inputs.drawn) == ((), ())


def two_kinds(count):
    """Textures that no run was trained on, with a brighter square above and a darker one below."""
    images = np.repeat(np.stack([texture(i) for i in range(300, 300 + count)])[..., None], 3, axis=3)
    for place, grey in (((slice(3, 15), slice(3, 15)), 255), ((slice(33, 45), slice(33, 45)), 0)):
        images[:, *place] = grey
    return list(images)


def assert_both_are_marked(maps):
    """Maps of 32 px, of which the squares take 8 in two corners: each is higher than the corner where nothing is."""
    brighter, darker, nothing = maps[:, 2:10, 2:10], maps[:, 22:30, 22:30], maps[:, 2:10, 22:30]
    for one in (brighter, darker):
        assert (one.mean(axis=(1, 2)) > nothing.mean(axis=(1, 2)) + 0.2 * maps.std(axis=(1, 2))).all()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "variant", ["r-u", "d-u", *(pytest.param(v, marks=SLOW) for v in ("r-w", "d-w", "r-s", "d-s"))]
)
def test_two_kinds_of_anomaly_in_one_image_are_both_marked(variant, run_folder, category, tmp_path):
    settings = small_config(variant=variant, epochs=30 if variant == "d-s" else 1, batch_size=16)
    if variant == "r-s":  # as with pretrained weights: only C is fitted to synthetic anomalies
        model = {"variant": "r-s", "weights": "none", "train_encoder": False}
        settings = make_config("recommended", {"data": {"image_size": (32, 32)}, "model": model})
    run = run_folder if variant == "r-u" else train(category, tmp_path / "run", settings)
    assert_both_are_marked(np.stack([p.anomaly_map for p in AnomalyDetector.load(run).predict(two_kinds(4))]))


@pytest.mark.parametrize("baseline", [PadimGraph, PatchcoreGraph])
def test_baselines_on_features_mark_both_too(baseline, run_folder):
    graph = baseline(load_run(run_folder, "cpu")[0].graph.model, image_size=(32, 32), seed=0)
    normal = np.stack([resized(np.repeat(texture(i)[..., None], 3, axis=2), (32, 32)) for i in range(24)])
    graph.fit(normal, torch.device("cpu"))
    bad = [resized(image, (32, 32)) for image in two_kinds(4)]
    assert_both_are_marked(TorchEngine(graph, torch.device("cpu")).score(bad).maps)


def test_the_command_writes_four_files_that_say_no_where_it_is_no(tmp_path, capsys):
    code, out, _ = run_command(capsys, "benchmark", "table1", "--output", tmp_path, "--variants", "d-u,padim")
    assert code == 0
    assert "3 of 3 methods described" in out
    rows = json.loads((tmp_path / "table1.json").read_text("utf-8"))["rows"]
    assert [row["grid"] for row in rows] == [[16, 16], [32, 32], [32, 32]]
    lines = list(csv.DictReader((tmp_path / "table1.csv").read_text("utf-8").splitlines()))
    assert {line["answer"] for line in lines if line["property"] == PROPERTIES[2]} == {"no"}
    assert "16 x 16 patches of 16 x 16 px, enlarged to pixels" in (tmp_path / "table1.md").read_text("utf-8")
    page = (tmp_path / "table1.html").read_text("utf-8")
    assert TEST_OF["grid"] in page
    assert "not shown" in page


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--variants", "r-x"), "unknown variant 'r-x'"),
        (("--epochs", "3"), "trains nothing"),
        (("--data", "somewhere"), "leave --data out"),
        (("--estimate",), "trains nothing: run it without --estimate"),
    ],
)
def test_what_the_table_has_no_use_for_is_refused(tmp_path, capsys, flags, expected):
    code, _, err = run_command(capsys, "benchmark", "table1", "--output", tmp_path / "out", *flags)
    assert code == 2
    assert expected in err
    assert is_one_complaint(err)
    assert not (tmp_path / "out").exists()
