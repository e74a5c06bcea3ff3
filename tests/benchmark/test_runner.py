import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from cavga.benchmark import runner
from cavga.benchmark.baselines.padim import PadimGraph
from cavga.benchmark.experiments.accuracy import screw_experiments, texture_experiments
from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.experiments.table_8_and_weak import (
    CONTAMINATION_SHARES,
    contamination_experiments,
    table8_experiments,
    variant_experiments,
    weak_experiments,
)
from cavga.benchmark.runner import has_converged, run_ahead, run_experiment, run_table
from cavga.config.presets import make_config
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.model.build import build
from cavga.model.latent import to_size
from tests.conftest import run_command, small_config, write_category

SMALL = {
    "data": {"image_size": (32, 32)},
    "model": {"weights": "none", "latent_channels": 8, "decoder_width": 8},
    "training": {"epochs": 1, "batch_size": 5, "device": "cpu"},
}


@pytest.fixture
def small_table(category, monkeypatch, few_synthetic):
    """A table of one model, its baseline, and an experiment that must fail."""

    def experiments(seeds, _weights):
        for seed in seeds:
            yield Experiment("ours", category.name, overrides=SMALL, seed=seed)
            yield Experiment("control", category.name, "padim", overrides=SMALL, seed=seed, features_of="ours")
        yield Experiment("broken", "empty", overrides=SMALL)

    monkeypatch.setitem(TABLES, "small", lambda seeds, weights: list(experiments(seeds, weights)))
    (category.parent / "empty").mkdir(exist_ok=True)
    return category.parent


def test_a_table_has_a_row_per_cell_and_runs_no_finished_cell_twice(small_table, tmp_path, monkeypatch):
    rows = run_table("small", tmp_path, data=small_table, selection=Selection(seeds=(0, 1))).rows
    assert [row["cell"] for row in rows] == ["ours", "control", "ours", "control", "broken"]
    assert [row["error"] is None for row in rows] == [True, True, True, True, False]
    assert "no images in it" in rows[-1]["error"]
    assert json.loads((tmp_path / "small.json").read_text())["rows"] == rows
    assert rows[1]["metrics"]["provenance"]["preset"] == "baseline"
    assert not list(tmp_path.rglob("images-*"))
    calls = []
    real_train = runner.train
    monkeypatch.setattr(
        runner, "train", lambda data, *rest, **options: (calls.append(data.name), real_train(data, *rest, **options))
    )
    assert run_table("small", tmp_path, data=small_table, selection=Selection(seeds=(0, 1))).rows[:4] == rows[:4]
    assert calls == ["empty"]  # the failed experiment is tried again, no other


def test_finished_cells_alone_make_a_table_too(small_table, tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match="no finished experiment of small"):
        run_table("small", tmp_path, data=small_table, only_finished=True)
    done = run_table("small", tmp_path, data=small_table).rows[0]
    monkeypatch.setattr(runner, "train", None)
    table = run_table("small", tmp_path, data=small_table, selection=Selection(seeds=(0, 1)), only_finished=True)
    assert (
        [row["cell"] for row in table.rows]
        == [experiment.name for experiment in table.experiments]
        == ["ours", "control"]
    )
    assert table.rows[0] == done
    assert "2 of 5 experiments are finished, 3 to come" in (tmp_path / "small.md").read_text()
    options = ("--data", small_table, "--output", tmp_path, "--finished")
    code, out, _ = run_command(capsys, "benchmark", "small", *options)
    assert (code, out.startswith("2 of 2 experiments finished, 1 more to come: ")) == (0, True)
    code, _, err = run_command(capsys, "benchmark", "small", *options, "--epochs", "1")
    assert (code, "small-epochs-1: no finished experiment of small" in err) == (2, True)


def test_a_cell_that_was_begun_and_not_finished_is_run_anew(small_table, category, tmp_path):
    experiment = Experiment("ours", category.name, overrides=SMALL)
    (tmp_path / experiment.folder).mkdir(parents=True)
    (tmp_path / experiment.folder / "config.toml").write_text("half a run")
    assert run_experiment(experiment, small_table, tmp_path)["error"] is None


def test_unknown_tables_and_missing_roots():
    from pathlib import Path

    with pytest.raises(UsageError, match=r"expected one of .*textures"):
        run_table("demmo", Path("x"))
    with pytest.raises(UsageError, match="--data ROOT"):
        run_table("screw", Path("x"))


def test_the_shipped_tables_have_valid_experiments():
    for experiment in [*texture_experiments((0, 1), None), *screw_experiments((0,), "weights.safetensors")]:
        assert experiment.config().training.seed == experiment.seed
    names = [(experiment.name, experiment.data, experiment.seed) for experiment in texture_experiments((0, 1), None)]
    assert len(names) == len(set(names))
    assert sum(name == "paper" for name, _, _ in names) == 3  # one seed only


def test_every_cell_of_a_weak_table_is_tested_without_what_the_first_one_drew():
    first_experiments = ("r-w, recommended", "c8: r-w, conv z, L_cga", "16 labelled bad")
    for table in (variant_experiments, table8_experiments, weak_experiments):
        experiments = table((0, 1), "weights.safetensors")
        names = [(experiment.name, experiment.data, experiment.seed) for experiment in experiments]
        assert len(names) == len(set(names))
        for i, experiment in enumerate(experiments):
            experiment.config()
            assert (experiment.without is None) == (experiment.name in first_experiments)
            if experiment.without:
                assert (experiment.without, experiment.data, experiment.seed) in names[:i]


def test_table_8_has_the_papers_eight_columns_one_field_apart():
    experiments = {
        experiment.name[:2]: experiment.config()
        for experiment in table8_experiments((0,), "w.safetensors")
        if ":" in experiment.name
    }
    assert sorted(experiments) == [f"c{i}" for i in range(1, 9)]
    for name, config in experiments.items():
        number = int(name[1])
        assert config.model.variant == ("r-u" if number <= 4 else "r-w")
        assert (config.model.latent_shape == "vector") == (number in (1, 2, 5, 6))
        weight = config.loss.attention_weight if number <= 4 else config.loss.guided_attention_weight
        assert weight == (0.01 if number % 2 == 0 else 0.0)


def test_every_contaminated_baseline_stands_on_a_run_of_the_same_contamination():
    experiments = contamination_experiments((0, 1), "weights.safetensors")
    assert len({experiment.folder for experiment in experiments}) == len(experiments)
    known = {}
    for experiment in experiments:
        assert experiment.config().training.seed == experiment.seed
        known[experiment.name, experiment.data, experiment.seed] = experiment
        if experiment.features_of:
            base = known[experiment.features_of, experiment.data, experiment.seed]
            assert (base.contamination, base.method) == (experiment.contamination, "cavga")
    assert {experiment.contamination for experiment in experiments} == set(CONTAMINATION_SHARES)


def test_a_paper_is_learnt_and_tested_by_itself_and_its_baselines_thresholds_come_from_folds(
    tmp_path, monkeypatch, few_synthetic
):
    root = tmp_path / "root/papers"
    for paper, first in (("AAA01", 0), ("BBB01", 50)):
        folder = write_category(tmp_path / paper, num_train=20)
        for path in sorted(folder.rglob("*.png")):
            target = root / path.relative_to(folder).with_name(f"{paper}_{first}_{path.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    frozen = merge(SMALL, {"model": {"train_encoder": False}})
    ours = Experiment("ours", "papers", overrides=frozen, paper="BBB01")
    baseline = Experiment("baseline", "papers", "padim", overrides=frozen, paper="BBB01", features_of="ours")
    monkeypatch.setitem(TABLES, "small", lambda _seeds, _weights: [ours, baseline])
    rows = run_table("small", tmp_path / "out", data=tmp_path / "root").rows
    assert [row["error"] for row in rows] == [None, None]
    assert [row["part"] for row in rows] == ["BBB01", "BBB01"]
    for row in rows:
        counts, calibration = row["metrics"]["counts"], row["metrics"]["provenance"]["calibration"]
        assert (counts["train"], counts["test_normal"], counts["test_anomalous"]) == (20, 4, 4)
        assert (calibration["num_images"], calibration["num_folds"]) == (20, 5)
        five = row["promised"]["0.05"]
        assert five["guaranteed"] == pytest.approx(1 / 21)
        assert five["threshold"] == pytest.approx(calibration["image_threshold"], rel=1e-5)
        assert five["recall"] == row["metrics"]["image"]["recall"]
        assert five["false_alarm_rate"] == row["metrics"]["image"]["false_alarm_rate"]
    missing = Experiment("missing", "papers", overrides=SMALL, paper="CCC01")
    assert "no photographs of paper CCC01" in run_experiment(missing, tmp_path / "root", tmp_path / "out")["error"]


@pytest.mark.usefixtures("few_synthetic")
def test_contaminated_cells_share_one_test_set_and_train_on_what_they_say(category, tmp_path, monkeypatch):
    def experiments(seeds, _weights):
        for share in (0.0, 0.1):
            yield Experiment(f"ours {share}", category.name, overrides=SMALL, contamination=share)
            yield Experiment(
                f"baseline {share}", category.name, "patchcore", overrides=SMALL, features_of=f"ours {share}",
                contamination=share,
            )  # fmt: skip

    monkeypatch.setitem(TABLES, "small", lambda seeds, weights: list(experiments(seeds, weights)))
    rows = run_table("small", tmp_path, data=category.parent).rows
    assert [row["error"] for row in rows] == [None] * 4
    assert [row["contamination"] for row in rows] == [0.0, 0.0, 0.1, 0.1]
    counts = [row["metrics"]["counts"] for row in rows]
    assert {(c["test_normal"], c["test_anomalous"], c["excluded"]) for c in counts} == {(4, 3, 0)}  # of 4 bad ones
    labelled_good = [
        sum(line.split(",")[3] == "train" for line in manifest.read_text(encoding="utf-8").splitlines()[1:])
        for manifest in sorted((tmp_path / "small/manifests").rglob("manifest.csv"))
    ]
    assert labelled_good == [12, 13]


@pytest.mark.parametrize(
    ("totals", "expected"),
    [([1.0], None), ([2.0, 1.0], None), ([2.0, 1.0, 0.5], False), ([1.0, 0.995, 0.99], True), ([1.0, 0.9, 0.9], False)],
)
def test_converged_means_two_epochs_of_less_than_a_percent(totals, expected):
    assert has_converged(totals) is expected


def test_datasets_restrict_a_table(small_table, tmp_path, category):
    rows = run_table("small", tmp_path, data=small_table, selection=Selection(datasets=(category.name,))).rows
    assert [row["cell"] for row in rows] == ["ours", "control"]
    with pytest.raises(UsageError, match="unknown data set 'x'"):
        run_table("small", tmp_path, data=small_table, selection=Selection(datasets=("x",)))


def test_what_no_cell_could_run_with_leaves_an_earlier_table_alone(tmp_path):
    (tmp_path / "weak.json").write_text("precious")
    (tmp_path / "root/magnetic_tile").mkdir(parents=True)
    with pytest.raises(DataError, match="holds none of magnetic_tile"):
        run_table("weak", tmp_path, data=tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="no such weights file"):
        run_table("weak", tmp_path, data=tmp_path / "root", selection=Selection(weights=str(tmp_path / "w.pth")))
    with pytest.raises(UsageError, match="is a file"):
        run_table("weak", tmp_path / "weak.json", data=tmp_path / "root")
    assert (tmp_path / "weak.json").read_text() == "precious"


def test_later_overrides_win():
    assert merge({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}, "b": {"z": 4}}) == {"a": {"x": 3, "y": 2}, "b": {"z": 4}}


def fitted_padim(images):
    size = images.shape[1:3]
    torch.manual_seed(0)
    graph = PadimGraph(build(small_config().model, image_size=size), image_size=size, seed=0)
    graph.fit(images, torch.device("cpu"))
    return graph


def test_padim_is_the_mahalanobis_distance_at_each_position():
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    graph = fitted_padim(images)
    model = graph.model
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = model.mu_head.merged(model.eval().encode_stages(batch))[:, graph.chosen]
        at = features[:, :, 2, 1].double().numpy()
        covariance = np.cov(at, rowvar=False) + 0.01 * np.eye(at.shape[1])
        offset = (at - at.mean(axis=0))[5]
        expected = np.sqrt(offset @ np.linalg.inv(covariance) @ offset)
        centred = (features[5:6].permute(0, 2, 3, 1) - graph.mean)[..., None]
        squared = (centred.mT @ graph.precision @ centred)[..., 0, 0]
    assert squared.sqrt()[0, 2, 1].item() == pytest.approx(expected, rel=1e-2)
    with torch.no_grad():
        output = graph.score_images(batch[:3])
    assert torch.equal(output.score, output.anomaly_map.flatten(1).amax(dim=1))


def test_padim_finds_a_patch_that_no_training_image_has():
    images = np.random.default_rng(0).integers(100, 140, (40, 64, 64, 3), dtype=np.uint8)
    graph = fitted_padim(images)
    odd = images[:1].copy()
    odd[0, 16:32, 40:56] = 255
    with torch.no_grad():
        output = graph.score_images(torch.from_numpy(odd).permute(0, 3, 1, 2).float() / 255)
        normal = graph.score_images(torch.from_numpy(images[1:2]).permute(0, 3, 1, 2).float() / 255)
    row, column = np.unravel_index(int(output.anomaly_map[0].argmax()), (64, 64))
    assert 12 <= row < 36
    assert 36 <= column < 60
    assert output.score.item() > 1.5 * normal.score.item()


def test_padim_at_the_finest_stage_has_a_gaussian_for_each_of_its_places():
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    overrides = {"model": {"variant": "r-u", "weights": "none", "stages": (1, 2)}, "data": {"image_size": (64, 64)}}
    torch.manual_seed(0)
    model = build(make_config("recommended", overrides).model, image_size=(64, 64))
    graph = PadimGraph(model, image_size=(64, 64), seed=0, at_finest=True)
    graph.fit(images, torch.device("cpu"))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        finest, coarser = model.encode_stages(batch)
        features = torch.cat([finest, to_size(coarser, (16, 16))], dim=1)[:, graph.chosen]
    assert graph.mean.shape == (16, 16, 100)
    assert torch.allclose(graph.mean, features.mean(dim=0).permute(1, 2, 0), atol=1e-5)


def test_what_an_engine_ran_ahead_is_found(small_table, tmp_path):
    waves = []

    def each(function, jobs):
        waves.append([job.experiment.name for job in jobs])
        return [function(pickle.loads(pickle.dumps(job))) for job in jobs[::-1]]  # as to another machine, in any order

    chosen = Selection(seeds=(0,))
    run_ahead("small", tmp_path, data=small_table, selection=chosen, each=each)
    assert waves == [["ours", "broken"], ["control"]]  # the control reads what ours learnt
    before = next(tmp_path.rglob("model.json")).stat()
    rows = run_table("small", tmp_path, data=small_table, selection=chosen).rows
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert next(tmp_path.rglob("model.json")).stat().st_mtime_ns == before.st_mtime_ns
    waves.clear()
    run_ahead("small", tmp_path, data=small_table, selection=chosen, each=each)
    assert waves == [["broken"], []]
