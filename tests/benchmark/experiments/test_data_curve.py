"""The curve over the number of training images: which are drawn, for how many steps, and the chart."""

from pathlib import Path

import numpy as np
import pytest

from cavga.benchmark.experiments.data_curve import NUM_IMAGES, data_curve_experiments
from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.runner import run_table
from cavga.benchmark.training_sets import draw_subset
from cavga.config.presets import make_config
from cavga.config.schema import TrainingConfig, as_dict
from cavga.data.dataset import epoch_batches
from cavga.data.records import ImageRecord
from cavga.errors import DataError, UsageError
from tests.conftest import run_command

SMALL = {
    "data": {"image_size": (32, 32)},
    "model": {"variant": "d-u", "weights": "none", "latent_channels": 8, "decoder_width": 8},
    "loss": {"adversarial_weight": 0.0},  # a third of the time
    "training": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "device": "cpu"},
}
NO_EXPANSION = merge(SMALL, {"loss": {"attention_weight": 0.0}})


def record(split: str, number: int, label: int = 0) -> ImageRecord:
    path = Path("/data") / split / str(label) / f"{number:03d}.png"
    return ImageRecord(path=path, relative_path=path.as_posix(), label=label, split=split)


RECORDS = (
    *(record("train", i) for i in range(30)),
    record("train", 0, 1),
    *(record("test", i) for i in range(5)),
    *(record("test", i, 1) for i in range(5)),
)


def normal(records):
    return {r.path for r in records if (r.split, r.label) == ("train", 0)}


def test_a_smaller_number_of_images_is_part_of_a_larger_one_and_follows_from_the_seed():
    few, more, every = (draw_subset(RECORDS, number, seed=1) for number in (5, 10, 30))
    assert [len(normal(records)) for records in (few, more, every)] == [5, 10, 30]
    assert normal(few) < normal(more)
    assert few == draw_subset(tuple(reversed(RECORDS)), 5, seed=1)[::-1]
    assert normal(few) != normal(draw_subset(RECORDS, 5, seed=2))
    assert draw_subset(RECORDS, None, seed=1) == RECORDS


def test_all_other_images_stay_where_they_are():
    others = [r for r in RECORDS if (r.split, r.label) != ("train", 0)]
    assert [r for r in draw_subset(RECORDS, 5, seed=0) if (r.split, r.label) != ("train", 0)] == others


def test_more_images_than_there_are_is_an_error_that_says_how_many():
    with pytest.raises(DataError, match="31 normal training images are asked for, and there are 30"):
        draw_subset(RECORDS, 31, seed=0)


@pytest.mark.parametrize("num_images", [3, 16, 100])
def test_an_epoch_has_as_many_full_batches_whatever_the_number_of_images(num_images):
    settings = TrainingConfig(seed=3, batch_size=16, steps_per_epoch=5)
    batches = [batch for epoch in (0, 1) for batch in epoch_batches(num_images, settings, epoch)]
    assert [len(indices) for indices, _ in batches] == [16] * 10
    seen = np.concatenate([indices for indices, _ in batches])
    counts = np.bincount(seen, minlength=num_images)
    assert counts.max() - counts.min() <= 1  # pass after pass, over the epochs too
    again = [batch for batch in epoch_batches(num_images, settings, 1)]
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(again, batches[5:], strict=True))
    pairs = {pair for indices, passes in batches for pair in zip(indices.tolist(), passes.tolist(), strict=True)}
    assert len(pairs) == 160  # an image that comes again is turned another way


def test_without_steps_per_epoch_an_epoch_is_one_pass_and_settings_read_as_before():
    batches = list(epoch_batches(7, TrainingConfig(batch_size=3), 2))
    assert sorted(np.concatenate([indices for indices, _ in batches])[:-1]) == list(range(7))
    assert {int(number) for _, passes in batches for number in passes} == {2}
    assert "steps_per_epoch" not in as_dict(make_config("paper"))["training"]


def test_every_cell_of_the_curve_takes_the_same_steps_and_a_pair_differs_in_w_ae_alone():
    experiments = data_curve_experiments((0, 1), "w.safetensors")
    assert len({experiment.folder for experiment in experiments}) == len(experiments) == 2 * len(NUM_IMAGES) * 4
    of_paper = [experiment.config() for experiment in experiments if experiment.preset == "paper"]
    assert {(c.training.epochs, c.training.steps_per_epoch, c.training.batch_size) for c in of_paper} == {(150, 16, 16)}
    assert {experiment.num_images for experiment in experiments} == set(NUM_IMAGES)
    for one, other in zip(of_paper[::2], of_paper[1::2], strict=True):
        changed = [key for key, value in as_dict(one).items() if as_dict(other)[key] != value]
        assert (changed, one.loss.attention_weight, other.loss.attention_weight) == (["loss"], 0.01, 0.0)


def test_a_table_without_categories_says_that_none_can_be_chosen():
    with pytest.raises(UsageError, match="no category can be chosen here, got 'screw': leave the flag out"):
        select_experiments("data-curve", Selection(categories=("screw",)))


@pytest.fixture
def small_curve(category, monkeypatch):
    experiments = [
        Experiment(name, category.name, preset="paper", overrides=overrides, num_images=number)
        for number in (5, "all")
        for name, overrides in (("with", SMALL), ("without L_ae", NO_EXPANSION))
    ]
    monkeypatch.setitem(TABLES, "data-curve", lambda _seeds, _weights: experiments)
    return category.parent


def test_a_curve_is_tested_on_all_test_images_and_drawn_on_its_page(small_curve, tmp_path):
    rows = run_table("data-curve", tmp_path, data=small_curve).rows
    assert [(row["error"], row["num_images"]) for row in rows] == [(None, 5)] * 2 + [(None, "all")] * 2
    counts = [row["metrics"]["counts"] for row in rows]
    assert [c["train"] + c["calibration"] for c in counts] == [5, 5, 12, 12]
    assert {(c["test_normal"], c["test_anomalous"], c["excluded"]) for c in counts} == {(4, 4, 0)}
    page = (tmp_path / "data-curve.html").read_text("utf-8")
    assert page.count('<svg class="curve"') == 2
    values = [row["metrics"]["pixel"]["auroc"] for row in rows[::2]]
    assert f"with: 5: {values[0]:.3f}, 12: {values[1]:.3f};" in page
    assert "5 images" in (tmp_path / "data-curve.md").read_text("utf-8")


def test_a_page_without_numbers_of_images_has_no_chart(category, tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "small", lambda _seeds, _weights: [Experiment("one", "nothing", overrides=SMALL)])
    (tmp_path / "root/nothing").mkdir(parents=True)
    run_table("small", tmp_path, data=tmp_path / "root")
    assert "<svg" not in (tmp_path / "small.html").read_text("utf-8")


def test_a_number_of_images_is_part_of_what_a_cell_is():
    chosen = select_experiments("data-curve", Selection(variants=("r-s",)))
    assert [experiment.num_images for experiment in chosen] == list(NUM_IMAGES)


def test_fewer_than_one_step_is_refused(category, tmp_path, capsys):
    code = run_command(capsys, "train", category, "--output", tmp_path / "run", "--steps-per-epoch", "0")[0]
    assert code == 2


@pytest.mark.parametrize("table", [table for table in TABLES if table != "auto-size"])  # whose question it is
def test_rows_of_every_day_have_one_input_size(table):
    for experiment in select_experiments(table, Selection()):
        assert not isinstance(experiment.config().data.image_size, str), experiment.name
