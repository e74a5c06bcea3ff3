import argparse
from dataclasses import fields

import pytest

from cavga.cli.flags import add_config_flags, config_from_flags
from cavga.cli.parser import OneLineParser
from cavga.config.fields import parse_image_size
from cavga.config.presets import PRESETS, from_dict, make_config
from cavga.config.schema import SECTIONS, as_dict
from cavga.config.toml import read_toml, write_toml
from cavga.errors import UsageError
from cavga.model.build import build, map_size_of


def parsed(*flags):
    parser = OneLineParser(prog="x")
    add_config_flags(parser)
    return config_from_flags(parser.parse_args(flags))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_toml_and_json(preset, tmp_path):
    config = make_config(preset, {"data": {"category": 'a "quoted" \\ näme', "image_size": (64, 128)}})
    (tmp_path / "c.toml").write_text(write_toml(config), encoding="utf-8")
    name, overrides = read_toml(tmp_path / "c.toml")
    assert make_config(name, overrides) == config
    assert from_dict(as_dict(config)) == config


def test_the_paper_preset_is_what_the_text_says():
    paper = make_config("paper")
    weights = paper.loss
    assert (weights.vae_weight, weights.adversarial_weight, weights.attention_weight) == (1.0, 1.0, 0.01)
    assert paper.model.stages == (4,)
    assert paper.model.train_encoder
    assert (paper.model.attention, paper.model.image_score) == ("latent_sum", "residual")
    assert paper.calibration.threshold_rule == "fixed"


def test_presets_differ_in_every_field_that_is_not_for_a_study():
    # A field on which both presets agree must be a user's choice or belong to a recorded study.
    choices = {
        *("normal_class", "mask_cut"),
        *("category", "layout", "calibration_fraction", "anomalous_fraction", "skip_bad", "drop_suspicious"),
        *("tile", "roi"),
        *("variant", "encoder", "weights", "gan_weights", "spectrum", "map_cell"),
        *("seed", "steps_per_epoch", "batch_size", "device", "false_alarm_rate", "mask_false_alarm_rate"),
        "train_latent",
        *("vae_weight", "adversarial_weight", "attention_weight", "guided_attention_weight", "region_weight"),
        *("attention", "image_score", "prior", "whitening"),  # follow from other settings
        *("latent_shape", "decoder_skip", "class_score", "map_gate"),  # ablations of Table 8; readings of Eq. 5
    }
    for section in SECTIONS:
        one, other = (getattr(preset, section) for preset in PRESETS.values())
        for item in fields(one):
            is_equal = getattr(one, item.name) == getattr(other, item.name)
            assert not is_equal or item.name in choices, f"{section}.{item.name}"


@pytest.mark.parametrize(("preset", "variant"), [("recommended", "r-s"), ("paper", "r-u")])
def test_good_photographs_are_enough_for_the_default_variant(preset, variant):
    assert make_config(preset).model.variant == variant


@pytest.mark.parametrize("model", [{"map_cell": 3}, {"map_cell": 16}, {"map_cell": 4, "latent": "trained"}])
def test_cells_of_the_map_are_halved_or_left_as_they_are(model):
    with pytest.raises(UsageError, match="map_cell must be 2, 4 or 8"):
        make_config("recommended", {"model": {"variant": "d-u", **model}})


def test_finer_cells_are_kept_with_the_model_and_do_not_change_what_others_say():
    finer = make_config("recommended", {"model": {"variant": "d-u", "map_cell": 2}})
    assert as_dict(finer)["model"]["map_cell"] == 2
    assert map_size_of(build(finer.model, image_size=(32, 32))) == (16, 16)
    assert "map_cell" not in as_dict(make_config("recommended"))["model"]  # as in models of earlier versions


@pytest.mark.parametrize(("variant", "weights"), [("r-u", "imagenet"), ("d-u", "none")])
def test_weights_follow_the_backbone(variant, weights):
    assert make_config("recommended", {"model": {"variant": variant}}).model.weights == weights


@pytest.mark.parametrize(
    ("model", "encoder", "stages"),
    [
        ({}, "resnet18", (1, 2, 3)),
        ({"weights": "none"}, "resnet18", (1,)),
        ({"variant": "r-u", "weights": "none"}, "resnet18", (0, 1)),
        ({"variant": "d-u"}, None, (1,)),
        ({"encoder": "squeezenet1_0", "variant": "r-w"}, "squeezenet1_0", (1, 2, 3)),
        ({"encoder": "squeezenet1_0", "variant": "r-u", "weights": "none"}, "squeezenet1_0", (0, 1)),
        ({"encoder": "convnext_tiny", "weights": "none"}, "convnext_tiny", (1,)),
    ],
)
def test_encoder_and_stages_follow_the_variant_and_the_weights(model, encoder, stages):
    found = make_config("recommended", {"model": model}).model
    assert (found.encoder, found.stages) == (encoder, stages)


@pytest.mark.parametrize(
    ("preset", "variant", "attention", "score"),
    [
        ("recommended", "r-u", "energy", "map"),
        ("recommended", "d-w", "energy", "joint"),
        ("recommended", "r-w", "energy", "map"),
        ("paper", "d-u", "latent_sum", "residual"),
        ("paper", "r-w", "class", "class"),
    ],
)
def test_attention_and_score_follow_the_latent_and_the_supervision(preset, variant, attention, score):
    model = make_config(preset, {"model": {"variant": variant}}).model
    assert (model.attention, model.image_score) == (attention, score)


@pytest.mark.parametrize(("weights", "is_trained"), [("imagenet", False), ("some.pth", False), ("none", True)])
def test_only_an_encoder_without_weights_is_trained_by_default(weights, is_trained):
    assert make_config("recommended", {"model": {"weights": weights}}).model.train_encoder is is_trained


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    (tmp_path / "c.toml").write_text('preset = "paper"\n[training]\nepochs = 7\nseed = 3\n')
    config = parsed("--config", str(tmp_path / "c.toml"), "--epochs", "9")
    assert (config.preset, config.training.epochs, config.training.seed) == ("paper", 9, 3)
    assert config.training.learning_rate == PRESETS["paper"].training.learning_rate


def test_every_field_has_a_flag_and_a_help_text():
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    for section in SECTIONS:
        for item in fields(getattr(PRESETS["paper"], section)):
            assert "--" + item.name.replace("_", "-") in options
            assert item.metadata["help"]
    parser.format_help()


def test_flags_become_values():
    config = parsed("--image-size", "64x128", "--stages", "2,3", "--spectrum", "0.5,1", "--augment")
    assert config.data.image_size == (64, 128)
    assert config.model.stages == (2, 3)
    assert config.model.spectrum == (0.5, 1.0)
    assert config.data.augment


@pytest.mark.parametrize("text", ["0x0x0", "big", "", "-32", "32.5"])
def test_image_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="expected auto, N or HxW"):
        parse_image_size(text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image-size", "100"], "multiple of 32"),
        (["--image-size", "own"], "image_size: expected auto, N or HxW in pixels, got 'own'"),
        (["--image-size", "2048"], "multiple of 32 from 32 to 1024"),
        (["--variant", "r-v"], "unknown variant 'r-v': expected one of r-s, r-u, r-w, d-s"),
        (["--preset", "papr"], "expected one of paper, recommended"),
        (["--stages", "3,1"], "rising numbers from 0 to 4"),
        (["--stages", "5"], "rising numbers from 0 to 4"),
        (["--variant", "d-u", "--stages", "0,1"], "from 1 to 4 for encoder DC-GAN"),
        (["--variant", "d-u", "--encoder", "squeezenet1_0"], "squeezenet1_0 is for the r variants: d-u has"),
        (["--variant", "d-w", "--encoder", "resnet18"], "resnet18 is for the r variants"),
        (["--encoder", "resnet50"], "unknown encoder 'resnet50': expected one of resnet18"),
        (["--encoder", "squeezenet1_0", "--stages", "4"], r"from 0 to 3 for encoder squeezenet1_0, got \[4\]"),
        (["--encoder", "squeezenet1_0", "--preset", "paper"], r"from 0 to 3 for encoder squeezenet1_0, got \[4\]"),
        (["--encoder", "convnext_tiny", "--stages", "0"], "from 1 to 4 for encoder convnext_tiny"),
        (["--stages", "one"], "numbers separated by commas"),
        (["--spectrum", "0.9,0.1"], "range within 0 to 1"),
        (["--epochs", "0"], "at least 1"),
        (["--learning-rate", "nan"], "above 0"),
        (["--false-alarm-rate", "1.5"], "between 0 and 1"),
        (["--attention-weight", "-1"], "not be negative"),
        (["--calibration-fraction", "1.0"], "between 0 and 1"),
        (["--anomalous-fraction", "0"], "anomalous_fraction must lie between 0 and 1"),
        (["--no-such-flag"], "unrecognized arguments"),
        (["--decoder-width", "0"], "at least 1"),
        (["--seed", "-1"], "whole number from 0"),
        (["--seed", "99999999999999999999"], "whole number from 0"),
        (["--spectrum", "0.5"], "spectrum: expected"),
        (["--spectrum", "0.1,0.2,0.3"], "spectrum: expected"),
        (["--attention-weight", "nan"], "finite"),
        (["--guided-attention-weight", "-1"], "not be negative"),
        (["--image-score", "joint"], "need a classifier: expected variant r-w or d-w"),
        (["--preset", "paper", "--map-gate", "predicted_anomalous"], "need a classifier"),
        (["--preset", "paper", "--variant", "r-w", "--image-score", "joint"], "for a whitened latent"),
        (["--variant", "r-w", "--class-score", "probability"], "for a trained latent"),
        (["--variant", "d-w", "--latent-shape", "vector"], "for a trained latent"),
        (["--preset", "paper", "--latent-shape", "vector", "--attention", "energy"], "z that is a map"),
    ],
)
def test_wrong_flags_are_one_line(flags, message):
    with pytest.raises(UsageError, match=message) as caught:
        parsed(*flags)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[training\n", "not a readable TOML file"),
        ("epochs = 3\n", "outside a section"),
        ("[training]\nepoch = 3\n", "unknown setting in .training. 'epoch': expected one of epochs"),
        ('[training]\nepochs = "x"\n', "epochs: expected int, got 'x'"),
        ("[training]\nepochs = 1.5\n", "epochs: expected int, got 1.5"),
        ("[training]\nepochs = true\n", "epochs: expected int, got True"),
        ("[data]\nimage_size = [64]\n", r"image_size: expected auto, N or HxW in pixels, got \(64,\)"),
        ('[data]\nimage_size = "64y32"\n', "image_size: expected auto, N or HxW in pixels, got '64y32'"),
        ('[data]\ncalibration_fraction = "a"\n', "calibration_fraction: expected float"),
        ("[model]\nstages = 3\n", "stages: expected"),
        ("preset = 5\n", "preset: expected a name"),
        ("[trainig]\nepochs = 3\n", "unknown section 'trainig': expected one of training"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, content, message):
    (tmp_path / "c.toml").write_text(content)
    with pytest.raises(UsageError, match=message):
        parsed("--config", str(tmp_path / "c.toml"))
    with pytest.raises(UsageError, match="no such configuration file"):
        parsed("--config", str(tmp_path / "nothing.toml"))


def test_one_number_is_a_square_image_size_in_a_file_too(tmp_path):
    (tmp_path / "c.toml").write_text("[data]\nimage_size = 64\n[training]\nlearning_rate = 1\n")
    config = parsed("--config", str(tmp_path / "c.toml"))
    assert config.data.image_size == (64, 64)


@pytest.mark.parametrize("written", ['"auto"', '"64x96"', '"64"', "[64, 96]"])
def test_an_image_size_in_a_file_is_as_on_the_command_line(tmp_path, written):
    (tmp_path / "c.toml").write_text(f"[data]\nimage_size = {written}\n")
    flag = written.strip('"').replace("[64, 96]", "64x96")
    config = parsed("--config", str(tmp_path / "c.toml"))
    assert config == parsed("--image-size", flag)
    assert from_dict(as_dict(config)) == config


def test_an_image_size_that_follows_from_photographs_is_not_read_before_they_settled_it():
    with pytest.raises(ValueError, match="is not settled"):
        _ = make_config("recommended").data.input_size
    assert make_config("paper").data.input_size == (256, 256)  # what is published stays comparable


def test_a_paper_run_of_before_reads_as_it_was_trained_and_one_of_now_says_what_it_is():
    config = make_config("paper")
    content = as_dict(config)
    assert (content["loss"]["reduction"], content["training"]["schedule"]) == ("sums", "one_cycle")
    assert from_dict(content) == config
    del content["loss"]["reduction"], content["training"]["schedule"]
    earlier = from_dict(content)
    assert (earlier.loss.reduction, earlier.training.schedule) == ("means", None)
    means = make_config("paper", {"loss": {"reduction": "means"}})
    assert from_dict(as_dict(means)) == means
