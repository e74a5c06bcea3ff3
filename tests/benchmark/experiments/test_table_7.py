"""Table 7: one class normal."""

import json
from collections import Counter
from dataclasses import replace

from cavga.benchmark.baselines import index
from cavga.benchmark.experiments.experiment import merge
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.experiments.table_7 import CLASSES_OF, table7_experiments
from cavga.benchmark.runner import run_table
from tests.data.made_sets import idx

TRAINED = dict(index.in_table("table7", index.TRAINED))
ROWS = 2 + len(TRAINED)


def test_every_class_has_every_row():
    experiments = table7_experiments((0,), None)
    assert len(experiments) == 30 * ROWS
    assert len({experiment.folder for experiment in experiments}) == len(experiments)
    by_class = Counter((experiment.data, experiment.normal_class) for experiment in experiments)
    assert set(by_class.values()) == {ROWS}
    assert set(by_class) == {(data, name) for data, names in CLASSES_OF.items() for name in names}
    for experiment in experiments[:: ROWS + 1]:  # another row of another class each
        config = experiment.config()
        assert config.data.normal_class == experiment.normal_class
        assert config.data.image_size == (32, 32)
        assert not config.data.augment
        assert config.model.variant == "d-u"
    for experiment in experiments:
        assert ("JPEG" in experiment.note) == (experiment.data == "cifar10")
        assert ("not the paper" in experiment.name) == (experiment.method == "cavga" and experiment.preset != "paper")
    assert {experiment.method for experiment in experiments} == {"cavga", *TRAINED}


def test_mnist_has_every_seed_and_the_others_three_classes_with_every_seed():
    classes = Counter(
        (experiment.data, experiment.seed)
        for experiment in table7_experiments((3, 4, 5), None)
        if experiment.method == "ae_l2"
    )
    assert [classes["MNIST", seed] for seed in (3, 4, 5)] == [10, 10, 10]
    for data in ("FashionMNIST", "cifar10"):
        assert [classes[data, seed] for seed in (3, 4, 5)] == [10, 3, 3]


def test_one_epoch_gives_every_method_as_many_steps_and_says_what_was_cut():
    chosen = Selection(datasets=("mnist",), categories=("0",), epochs=1)
    experiments = {experiment.method: experiment for experiment in select_experiments("table7", chosen)}
    assert {experiment.config().training.epochs for experiment in experiments.values()} == {1}
    assert experiments["ae_l2"].note == "baseline, 4 epochs; cut to 1 of 4 epochs"
    assert experiments["memae"].note == "baseline, 1 epoch"


def test_a_tiny_mnist_from_its_files_to_the_rows(tmp_path, monkeypatch):
    idx(tmp_path / "MNIST/raw", num_train=60)

    def experiments(seeds, weights):
        few = [
            experiment for experiment in table7_experiments(seeds, weights) if experiment.normal_class in ("7", "cat")
        ]
        few = [
            experiment for experiment in few if experiment.name == "d-u, paper" or experiment.method == "gamma_vae_g"
        ]
        small = {"model": {"decoder_width": 8}, "training": {"epochs": 1, "device": "cpu"}}
        return [replace(experiment, overrides=merge(experiment.overrides, small)) for experiment in few]

    monkeypatch.setitem(TABLES, "small", experiments)
    rows = run_table("small", tmp_path / "out", data=tmp_path, selection=Selection(datasets=("mnist",))).rows
    assert [row["error"] for row in rows] == [None] * 2
    assert {row["normal_class"] for row in rows} == {"7"}
    assert [row["method"] for row in rows] == ["cavga", "gamma_vae_g"]
    for row in rows:
        counts = row["metrics"]["counts"]
        assert (counts["test_normal"], counts["test_anomalous"], counts["excluded"]) == (2, 18, 0)
        assert 0 <= row["metrics"]["image"]["auroc"] <= 1
        assert row["metrics"]["pixel"]["auroc"] is None
    origin = rows[-1]["metrics"]["provenance"]
    assert (origin["variant"], origin["preset"]) == ("gamma_vae_g", "baseline")
    assert origin["encoder"] == "D to layer4, trained, no pretraining"
    assert not list(tmp_path.rglob("images-*"))
    assert json.loads((tmp_path / "out/small.json").read_text())["rows"] == rows
