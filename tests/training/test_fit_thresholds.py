import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cavga.calibration.thresholds import calibrate
from cavga.config.presets import make_config
from cavga.data.dataset import TrainingImages
from cavga.data.records import ImageRecord, folds
from cavga.inference.graph import InferenceGraph
from cavga.model.build import build
from cavga.training import fit_guided_head, fit_prior, fit_thresholds
from cavga.training.fit_guided_head import choose_left_out
from cavga.training.fit_latent import fit_latent, fit_prior_variance
from cavga.training.fit_thresholds import score_folds
from cavga.training.train import train
from tests.conftest import small_config, write_category


def records(groups):
    from pathlib import Path

    return [ImageRecord(Path(f"/{i}.png"), f"{i}.png", 0, "train", group=group) for i, group in enumerate(groups)]


def test_folds_cover_every_image_once_and_cut_no_group():
    parts = folds(records(["a", "a", "b", "b", None, None, None]), num_folds=3, seed=0)
    assert sorted(position for part in parts for position in part) == list(range(7))
    assert all((0 in part) == (1 in part) and (2 in part) == (3 in part) for part in parts)


def test_there_are_never_more_folds_than_units():
    assert len(folds(records(["a", "a", None]), num_folds=5, seed=0)) == 2


def test_folds_are_a_function_of_the_seed():
    many = records([None] * 20)
    assert folds(many, num_folds=5, seed=1) == folds(many, num_folds=5, seed=1) != folds(many, num_folds=5, seed=2)


def fitted_graph(images):
    config = small_config()
    torch.manual_seed(0)
    model = build(config.model, image_size=(32, 32))
    fit_latent(model, images, config.model, device=torch.device("cpu"))
    fit_prior_variance(model, images, device=torch.device("cpu"))
    return InferenceGraph(model, image_size=(32, 32), image_score="map")


def test_an_odd_image_scores_higher_when_it_is_left_out():
    images = np.random.default_rng(0).integers(100, 140, (10, 32, 32, 3), dtype=np.uint8)
    images[4, :, ::2] = 255
    graph = fitted_graph(images)
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    with torch.no_grad():
        inside = graph(torch.from_numpy(images)).score[4].item()
    scores = dict(zip([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], score_folds_of(graph, images), strict=True))
    assert scores[4] > 1.2 * inside
    assert max(scores, key=lambda i: scores[i]) == 4
    assert all(torch.equal(before[key], value) for key, value in graph.state_dict().items())


def score_folds_of(graph, images):
    parts = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    data = TrainingImages(images, num_normal=len(images))
    return [score for score, _ in score_folds(graph, data, parts, small_config())]


def test_few_images_are_all_trained_on_and_their_folds_set_the_threshold(tmp_path):
    data = write_category(tmp_path / "data", num_train=12)
    run = train(data, tmp_path / "run", small_config())
    description = json.loads((run / "model.json").read_text())
    assert (description["provenance"]["train"], description["provenance"]["calibration"]) == (12, 0)
    calibration = description["calibration"]
    assert (calibration["num_images"], calibration["num_folds"]) == (12, 5)
    assert calibration["promised_false_alarm_rate"] == 1 - 12 / 13


AGGREGATED = {"model": {"variant": "r-u", "weights": "none", "train_encoder": False, "latent_channels": 8,
                        "prior": "aggregated"},
              "data": {"image_size": (32, 32)}, "training": {"epochs": 1, "device": "cpu"},
              "calibration": {"false_alarm_rate": 0.25}}  # fmt: skip


def aggregated(variant):
    return make_config("recommended", AGGREGATED, {"model": {"variant": variant}})


def test_with_an_aggregated_prior_every_image_is_learnt_from_and_counts_for_the_threshold(tmp_path):
    data = write_category(tmp_path / "data", num_train=20)
    run = train(data, tmp_path / "run", aggregated("r-u"))
    description = json.loads((run / "model.json").read_text())
    assert (description["provenance"]["train"], description["provenance"]["calibration"]) == (20, 0)
    calibration = description["calibration"]
    assert (calibration["num_images"], calibration["num_folds"]) == (20, 5)
    suspicious = description["suspicious_training_images"]
    assert suspicious[0]["score"] == pytest.approx(calibration["score_max"])  # of its fold, not of the finished model
    # ceil(21 * 0.75) = 16 of 20 lie below the threshold
    assert description["training_decisions"]["good_called_anomalous"] == 4


@pytest.mark.parametrize("most_measured", [20, 6])
def test_what_a_classifier_has_seen_sets_no_mask_threshold(most_measured, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="cavga")
    maps = []
    monkeypatch.setattr(fit_prior, "MAX_PATCHES", most_measured * 4 * 4)
    monkeypatch.setattr(fit_prior, "MAX_LEFT_OUT", 1)

    def spy(results, *args, **kwargs):
        results = list(results)
        maps.append([anomaly_map is not None for _, anomaly_map in results])
        return calibrate(results, *args, **kwargs)

    monkeypatch.setattr(fit_thresholds, "calibrate", spy)
    monkeypatch.setattr(fit_guided_head, "NUM_STEPS", 5)
    run = train(write_category(tmp_path / "data", num_train=20), tmp_path / "run", aggregated("r-s"))
    assert len(maps[0]) == most_measured
    assert sum(maps[0]) == 4  # as many as are left out of 20, however few are measured
    if most_measured == 20:
        assert maps[0] == choose_left_out(20, 0).tolist()
    facts = json.loads((run / "model.json").read_text())["calibration"]
    assert facts["guaranteed_mask_false_alarm_rate"] == pytest.approx(1 / 5)
    assert "can estimate no less than a mask false alarm rate of 0.200; 0.1 was asked for" in caplog.text


def test_a_weakly_supervised_variant_holds_images_out(tmp_path):
    data = write_category(tmp_path / "data", num_train=20, num_labelled=2)
    description = json.loads((train(data, tmp_path / "run", aggregated("r-w")) / "model.json").read_text())
    assert (description["calibration"]["num_images"], description["calibration"]["num_folds"]) == (4, 1)


def test_enough_images_are_held_out(tmp_path):
    data = write_category(tmp_path / "data", num_train=20)
    config = small_config(epochs=1)
    config = replace(config, calibration=replace(config.calibration, false_alarm_rate=0.25))
    description = json.loads((train(data, tmp_path / "run", config) / "model.json").read_text())
    calibration = description["calibration"]
    assert (calibration["num_images"], calibration["num_folds"]) == (4, 1)
