"""The paper's figures from our own runs: what is shown, that it is right, and what is said where it is missing."""

import json
import re
import shutil
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from cavga.attention import sigmoid_attention
from cavga.benchmark import runner
from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.experiments.index import TABLES, folder_of
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.figures.contrast import BINS, bin_names, bin_of, contrast_of, rank_correlation
from cavga.benchmark.figures.figure_1ii import best_baseline, draw_improvements
from cavga.benchmark.figures.index import FIGURES, run_figure
from cavga.benchmark.runner import _settings_of
from cavga.benchmark.tables.reported import load_reported
from cavga.evaluation.written import read_evaluation
from cavga.images.decode import read_image
from cavga.inference.detector import AnomalyDetector
from cavga.metrics.image import image_iou
from tests.conftest import is_one_complaint, run_command, save_image, texture, write_category

SMALL = {
    "data": {"image_size": (32, 32)},
    "model": {"weights": "none", "latent_channels": 8, "decoder_width": 8},
    "training": {"epochs": 1, "batch_size": 5, "device": "cpu"},
}
WITHOUT, WITH, WEAK = "d-u, paper, without L_ae", "d-u, paper", "d-w, paper"
SCREW = "mvtec_ad/screw"


def small_experiments(seeds, _weights):
    experiments = []
    for seed in seeds:
        for name, variant, loss in ((WITHOUT, "d-u", {"attention_weight": 0.0}), (WITH, "d-u", {}), (WEAK, "d-w", {})):
            overrides = merge(SMALL, {"model": {"variant": variant}, "loss": loss})
            experiments.append(Experiment(name, SCREW, preset="paper", overrides=overrides, seed=seed))
        experiments.append(replace(experiments[0], data="mvtec_ad/cable"))  # which is not there
    return experiments


def ablation_experiments(seeds, weights):
    """Another order than that of the columns, as in Table 8."""
    names = {WEAK: "c8: w", WITH: "c2: u, L_ae", WITHOUT: "c1: u"}
    experiments = {
        experiment.name: experiment for experiment in small_experiments(seeds, weights) if experiment.data == SCREW
    }
    return [replace(experiments[name], name=column) for name, column in names.items()]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A category with two types of defect: a light square, and a square that hardly differs from its ground."""
    folder = tmp_path_factory.mktemp("root")
    place = write_category(folder / SCREW, num_train=6, num_good=7, num_bad=5)
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[4:14, 4:14] = 255
    for i in range(3):
        save_image(place / f"test/faint/{i:03d}.png", texture(300 + i) + (mask > 0).astype(np.uint8))
        save_image(place / f"ground_truth/faint/{i:03d}_mask.png", mask)
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_figures():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fig1", "fig3", "fig4"):
            patch.setitem(TABLES, name, small_experiments)
        patch.setitem(TABLES, "fig5", ablation_experiments)
        yield


@pytest.fixture(scope="module")
def figures(root, tmp_path_factory):
    """All four figures, drawn once: output folder and each figure's JSON."""
    output, trained = tmp_path_factory.mktemp("figures"), []
    with pytest.MonkeyPatch.context() as patch:
        real = runner.train
        patch.setattr(
            runner, "train", lambda data, run, *rest, **more: (trained.append(run), real(data, run, *rest, **more))
        )
        selection = Selection(seeds=(1, 2), categories=("screw",))
        for name in ("fig1", "fig3", "fig4"):
            run_figure(name, output, data=root, selection=selection)
        assert [run.relative_to(output).parts[:2] for run in trained] == [
            ("mvtec_ad", name) for name in (WITHOUT, WITH, WEAK)
        ]  # of the first seed, once for three figures
        run_figure("fig5", output, data=root, selection=Selection(seeds=(1,)))
    return output, {name: json.loads((output / f"{name}.json").read_text("utf-8")) for name in FIGURES}


def run_of(output, name):
    return output / "mvtec_ad" / name / "mvtec_ad-screw" / "seed-1"


def test_figure_1_measures_attention_on_the_same_good_images(figures, root):
    output, found = figures
    shown = found["fig1"]["shown"]["mvtec_ad/screw"]
    assert shown == [f"test/good/00{i}.png" for i in (1, 3, 5)]
    by_map = {(line["model"], line["map"]): line for line in found["fig1"]["coverage"]}
    paths = sorted((root / SCREW / "test/good").iterdir())
    for name in (WITHOUT, WITH):
        engine = AnomalyDetector.load_in_torch(run_of(output, name), device="cpu").engine
        images = engine._images([engine.resize(read_image(path)) for path in paths])
        latent = engine.graph.model.encode(images)
        cam = latent.mu.sum(dim=1) - engine.graph.model.mu_head.bias.sum()
        features = sum(projection.in_channels for projection in engine.graph.model.mu_head.projections)
        experiments = sigmoid_attention(cam / features)  # its mean over channels: decision 0026
        line = by_map[name, "A"]
        assert line["images"] == 7
        assert line["mean"] == pytest.approx(experiments.mean().item(), abs=2e-3)  # the enlarged border weighs more
        assert 0 <= line["share_above_half"] <= 1
    assert {line["map"] for (model, _), line in by_map.items() if model == WEAK} == {
        f"{symbol}, {kind} images" for symbol in ("A^cn", "A^ca") for kind in ("good", "defective")
    }
    page = (output / "fig1.html").read_text("utf-8")
    for path in shown:
        row = re.search(rf'<span class="name">{path}</span>.*?</figure>', page)[0]
        assert "photograph · A without L_ae · A with L_ae · mean A without L_ae " in row


@pytest.mark.parametrize(("figure", "first"), [("fig3", WITHOUT), ("fig5", "c1: u")])
def test_one_image_of_each_type_is_shown_the_one_with_the_median_score(figures, figure, first):
    output, found = figures
    shown = {item["defect_type"]: item for item in found[figure]["shown"]}
    assert set(shown) == {"faint", "square"}
    run = run_of(output, first) if figure == "fig3" else output / "table8" / first / "mvtec_ad-screw" / "seed-1"
    drawn = {image.path for image in read_evaluation(run).images}
    for row in found[figure]["rows"]:  # what r-w was trained on is in no picture
        place = run.parents[2] / row["cell"] / "mvtec_ad-screw" / "seed-1"
        drawn &= {image.path for image in read_evaluation(place).images}
    for kind, item in shown.items():
        of_type = [image for image in read_evaluation(run).images if f"/{kind}/" in image.path and image.path in drawn]
        scores = sorted(image.score for image in of_type)
        (score,) = [image.score for image in of_type if image.path == item["path"]]
        assert score == scores[len(scores) // 2]
        assert set(item["iou"]) == {row["cell"] for row in found[figure]["rows"]}


def test_the_overlap_of_a_picture_is_that_of_its_map_cut_at_the_threshold(figures, root):
    output, found = figures
    item = found["fig3"]["shown"][-1]
    for name, iou in item["iou"].items():
        detector = AnomalyDetector.load_in_torch(run_of(output, name), device="cpu")
        (prediction,) = detector.predict(root / SCREW / item["path"])
        mask = np.zeros((48, 48), dtype=bool)
        mask[10:22, 20:32] = True
        rows = np.floor((np.arange(32) + 0.5) * 1.5).astype(int)  # nearest
        assert iou == pytest.approx(image_iou(prediction.mask, mask[rows][:, rows]))


def test_the_ablation_goes_from_c1_to_c8(figures):
    output, _ = figures
    page = (output / "fig5.html").read_text("utf-8")
    first = re.search(r'<figure class="strip">.*?</figure>', page)[0]
    assert re.findall(r"<p>(c\d: [^<]*)<span>", first) == ["c1: u", "c2: u, L_ae", "c8: w"]


def test_figure_4_has_every_defective_image_once_in_a_bin_of_contrast(figures):
    output, found = figures
    for name in (WITHOUT, WITH, WEAK):
        of_model = [image for image in found["fig4"]["images"] if image["model"] == name]
        metrics = json.loads((run_of(output, name) / "metrics.json").read_text("utf-8"))
        assert len(of_model) == metrics["counts"]["with_mask"] >= 7
        assert mean(image["iou"] for image in of_model) == pytest.approx(metrics["pixel"]["iou_per_image"])
        bins = {line["contrast"]: line for line in found["fig4"]["bins"][name]}
        assert sum(line["images"] for key, line in bins.items() if key != "all") == bins["all"]["images"]
        assert bins["all"]["images"] == len(of_model)
        for image in of_model:
            assert (image["contrast"] > 1) == (image["defect_type"] == "square")
        page = (output / "fig4.html").read_text("utf-8")
        section = re.search(rf"<h2>{re.escape(name)}</h2>.*?</section>", page)[0]
        worst = sorted(image["iou"] for image in of_model)[:6]
        assert [float(text) for text in re.findall(r"<span>IoU ([\d.]+)", section)] == pytest.approx(worst, abs=0.006)


def test_contrast_is_the_difference_to_the_ring_in_deviations():
    grey = np.full((100, 100), 100, dtype=np.uint8)
    mask = np.zeros((100, 100), dtype=bool)
    mask[40:60, 40:60] = True
    grey[mask] = 140
    grey[:10] = 255  # far from the defect: it counts in the standard deviation alone
    photograph = np.repeat(grey[..., None], 3, axis=2)
    assert contrast_of(photograph, mask) == pytest.approx(40 / grey.std())
    assert contrast_of(np.full((100, 100, 3), 7, dtype=np.uint8), mask) is None
    assert contrast_of(photograph, np.ones((100, 100), dtype=bool)) is None
    assert contrast_of(photograph, np.zeros((100, 100), dtype=bool)) is None
    assert [bin_of(value) for value in (0.0, *BINS)] == bin_names()


def test_a_trend_is_told_from_chance():
    rng = np.random.default_rng(0)
    first = rng.random(60)
    rho, (low, high) = rank_correlation(first.tolist(), (first**3).tolist())
    assert rho == pytest.approx(1)
    assert low > 0.9
    _, (low, high) = rank_correlation(first.tolist(), rng.random(60).tolist())
    assert low < 0 < high
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]) is None
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None


def test_a_trend_that_is_of_the_size_alone_is_none_at_a_fixed_size():
    rng = np.random.default_rng(0)
    size = rng.random(400)
    first, second = (-size + 0.5 * rng.random(400)).tolist(), (size + 0.5 * rng.random(400)).tolist()
    rho, (_, high) = rank_correlation(first, second)
    assert (rho < -0.5, high < 0) == (True, True)
    _, (low, high) = rank_correlation(first, second, given=size.tolist())
    assert low < 0 < high


def test_pages_fetch_nothing_and_say_what_was_run(figures):
    output, found = figures
    for name in FIGURES:
        page = (output / f"{name}.html").read_text("utf-8")
        assert not re.search(r'https?://|<script|src="(?!data:)', page)
        assert found[name]["command"] in page
        assert f"cavga benchmark {name} --data ROOT" in found[name]["command"]
        assert "--seeds 1" in found[name]["command"]
        assert str(output) not in page
        assert found[name]["machine"]
        assert "Run: preset paper · epochs 1 · seed 1 · data mvtec_ad/screw" in page
        run = re.search(r"<h2>What was run</h2>(.*?)</section>", page)[1]
        for row in found[name]["rows"]:
            assert f">{row['cell']}</td>" in run
            assert row["metrics"]["provenance"]["data_sha256"][:12] in run
        assert '<th scope="col">epochs</th>' in run


def test_a_failed_cell_and_an_absent_set_are_named(figures, root, tmp_path, capsys, monkeypatch):
    output = shutil.copytree(figures[0], tmp_path / "copy")
    options = ("--data", root, "--output", output, "--variants", "d-u", "--seeds", "1")
    code, _, err = run_command(capsys, "benchmark", "fig1", *options)
    assert code == 3
    assert "mvtec_ad/cable" in err
    assert "mvtec_ad/cable" in (output / "fig1.html").read_text("utf-8")

    def fails(_cell, *_rest):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(runner, "_cavga", fails)
    shutil.rmtree(run_of(output, WITH))
    code, _, err = run_command(capsys, "benchmark", "fig4", *options, "--categories", "screw")
    assert code == 4
    page = (output / "fig4.html").read_text("utf-8")
    assert f"{WITH}, {SCREW}, seed 1: RuntimeError: out of memory" in page
    assert f"<h2>{WITHOUT}</h2>" in page
    code, _, err = run_command(capsys, "benchmark", "fig3", "--data", tmp_path, "--output", tmp_path / "none")
    assert code == 3
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("figure", "flags", "expected"),
    [
        ("fig3", ("--shaky",), "fig3 is a figure: --reported and --shaky are for tables"),
        ("fig1", ("--preset", "recommended"), "unknown preset 'recommended': expected one of paper"),
        ("fig1", (), "fig1 needs --data ROOT"),
        ("fig1ii", ("--epochs", "1"), "leave out all other flags"),
        ("fig1ii", ("--estimate",), "fig1ii trains nothing"),
        ("fig2", (), "unknown table or figure 'fig2'"),
    ],
)
def test_what_a_figure_cannot_do_is_refused_in_one_line(tmp_path, capsys, figure, flags, expected):
    code, _, err = run_command(capsys, "benchmark", figure, "--output", tmp_path / "out", *flags)
    assert code == 2
    assert is_one_complaint(err)
    assert expected in err
    assert not (tmp_path / "out").exists()


def test_the_cells_of_figures_are_those_of_the_tables():
    from cavga.benchmark.experiments.figures import (
        fig1_experiments,
        fig3_experiments,
        fig4_experiments,
        fig5_experiments,
    )

    selection = Selection(weights="weights.pth")
    tables = {
        name: {experiment.folder: experiment for experiment in select_experiments(name, selection)}
        for name in ("table3", "table4", "table8")
    }
    made = {"fig1": fig1_experiments, "fig3": fig3_experiments, "fig4": fig4_experiments, "fig5": fig5_experiments}
    own = set()
    for figure, experiments in made.items():
        for experiment in experiments((0,), "weights.pth"):
            table = "table8" if figure == "fig5" else "table4" if experiment.set_name == "shanghaitech" else "table3"
            if experiment.folder not in tables[table]:
                own.add((figure, experiment.name))
                assert experiment.config().loss.attention_weight == 0
                continue
            assert _settings_of(experiment) == _settings_of(tables[table][experiment.folder])
            assert folder_of(figure, experiment.set_name, 3) == folder_of(table, experiment.set_name, 3)
    assert own == {("fig1", "r-u, paper, without L_ae")}
    assert [experiment.name[:2] for experiment in made["fig5"]((0,), None)] == [
        f"c{number}" for number in range(8, 0, -1)
    ]


def test_the_improvements_come_out_as_the_paper_prints_them(tmp_path):
    lines, absent, files = draw_improvements(tmp_path)
    found = {(line.table, line.data, line.task[0]): (line.baseline, line.text) for line in lines}
    assert found == {
        ("table3", "mvtec_ad", "l"): ("γ-VAE_g †", "9/15; 4.2 to 85.4 %"),
        ("table6", "mvtec_ad", "d"): ("γ-VAE_g †", "9/15; 2.2 to 29.9 %"),
        ("table4", "shanghaitech", "l"): ("γ-VAE_g †", "7/12; 1.8 to 42.0 %"),
        ("table4", "shanghaitech", "d"): ("γ-VAE_g †", "8/12; 1.2 to 37.5 %"),
        ("table5", "lag", "l"): ("Patho-GAN †", "1/1; 16.2 %"),
        ("table5", "lag", "d"): ("Patho-GAN †", "1/1; 1.1 %"),
        ("table7", "MNIST", "d"): ("γ-VAE_g †", "8/10; 0.1 to 2.5 %"),
        ("table7", "FashionMNIST", "d"): ("LSA †", "1/1; 1.0 %"),  # of the mean alone
        ("table7", "cifar10", "d"): ("ULSLM †", "7/10; 2.6 to 30.6 %"),
    }
    assert [item["data"] for item in absent] == ["table3", "table6", "table4", "table5", "table7"]
    page = files[0].read_text("utf-8")
    assert "9/15; 4-85 %" in page
    assert "table3.json is not there" in page


def test_the_improvements_are_measured_from_the_tables_that_lie_there(tmp_path, capsys):
    def row(experiment, part, iou, method="cavga", error=None):
        metrics = {"pixel": {"iou_dataset": iou, "auroc": 0.5}, "image": {}}
        return {"cell": experiment, "data": f"mvtec_ad/{part}", "part": part, "method": method, "preset": "paper",
                "seed": 0, "note": "", "error": error, "metrics": metrics}  # fmt: skip

    rows = [
        row("d-u, paper", "screw", 0.57),
        row("d-u, paper", "bottle", 0.20),
        row("d-u, paper", "zipper", None, error="it failed"),
        row("PaDiM", "screw", 0.30, "padim"),
        row("PaDiM", "bottle", 0.10, "padim"),
        row("AVID", "screw", 0.90, "avid"),  # lacks a category
    ]
    (tmp_path / "table3.json").write_text(json.dumps({"rows": rows}), "utf-8")
    code, out, err = run_command(capsys, "benchmark", "fig1ii", "--output", tmp_path, "--json")
    assert code == 3
    assert "table3" not in err
    assert "table4.json is not there" in err
    measured = {line["baseline"]: line for line in json.loads(out)["lines"] if line["source"] == "measured"}
    assert set(measured) == {"γ-VAE_g †", "PaDiM"}
    reported = load_reported("table3").grids[0].figures["screw", "γ-VAE_g"].value
    ours = measured["γ-VAE_g †"]
    assert (ours["num_better"], ours["num_parts"]) == (1, 2)
    assert ours["lowest"] == ours["highest"] == pytest.approx(100 * (0.57 / reported - 1))
    assert (measured["PaDiM"]["num_better"], measured["PaDiM"]["highest"]) == (2, pytest.approx(100))
    assert "1/2; 50.0 %" in (tmp_path / "fig1ii.html").read_text("utf-8")
    (tmp_path / "table3.json").write_text("[]")
    code, _, err = run_command(capsys, "benchmark", "fig1ii", "--output", tmp_path)
    assert code == 3
    assert "table3.json is not what" in err


def test_the_best_baseline_is_by_the_printed_mean_where_there_is_one():
    values = {"A": {"x": 0.5, "y": 0.5}, "B": {"x": 0.6, "y": 0.6}, "C": {}}
    assert best_baseline(values, {}) == "B"
    assert best_baseline(values, {"A": 0.7}) == "A"
    assert best_baseline({}, {}) is None
