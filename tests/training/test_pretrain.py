"""`cavga pretrain`, and what starts from its file."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.runner import _settings_of
from cavga.cli.main import main
from cavga.config.presets import PRETRAINING, make_config
from cavga.config.resolve import resolve
from cavga.config.schema import as_dict
from cavga.data.manifest import sha256_of
from cavga.errors import ModelFileError, ResumeError, UsageError
from cavga.model.build import build
from cavga.training import train as pipeline
from cavga.training.gan_weights import read_gan_weights
from cavga.training.loop import make_networks
from cavga.training.pretrain import pretrain
from cavga.training.train import train
from tests.conftest import AfterEachStep, is_one_complaint, run_command, save_image, small_config, texture

WIDTHS = ("--latent-channels", 8, "--decoder-width", 8)
SMALL = ("--image-size", 32, *WIDTHS, "--batch-size", 8, "--epochs", 1, "--device", "cpu")


def pretraining_config(**training):
    """As what the flags of SMALL make."""
    sizes = {"data": {"image_size": (32, 32)}, "model": {"latent_channels": 8, "decoder_width": 8}}
    return make_config("paper", PRETRAINING, sizes, {"training": {"batch_size": 8, "device": "cpu", **training}})


def with_gan_weights(config, path):
    return resolve(replace(config, model=replace(config.model, gan_weights=str(path))))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Sixteen colour JPEGs of one size, some of them a folder deeper."""
    folder = tmp_path_factory.mktemp("data") / "img_align_celeba"
    for i in range(16):
        pixels = np.stack([texture(3 * i + k, size=40) for k in range(3)], axis=2)
        save_image(folder / ("more" if i % 4 == 0 else ".") / f"{i + 1:06d}.jpg", pixels)
    return folder


@pytest.fixture(scope="module")
def weights(faces, tmp_path_factory):
    """What the command makes of the faces, in a folder of its own."""
    path = tmp_path_factory.mktemp("weights") / "out/celeba.safetensors"
    assert main([str(word) for word in ("pretrain", faces, "--output", path, *SMALL)]) == 0
    return path


def test_the_command_writes_one_file_that_says_what_it_is(faces, weights):
    assert sorted(file.name for file in weights.parent.iterdir()) == ["celeba.log.jsonl", "celeba.safetensors"]
    with safe_open(weights, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    assert (record["data"], record["images"], record["steps"], record["seed"]) == ("img_align_celeba", 16, 2, 0)
    assert record["image_size"] == [32, 32]
    assert record["networks"]["decoder_width"] == 8
    assert str(faces.parent) not in json.dumps(record)
    (line,) = (weights.parent / "celeba.log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["discriminator"] == record["losses"]["discriminator"]


def test_all_three_networks_are_trained(weights):
    config, cpu = pretraining_config(epochs=1), torch.device("cpu")
    assert config.loss.attention_weight == 0
    with pipeline.deterministic(config.training.seed, cpu):
        start = make_networks(build(config.model, image_size=config.data.image_size), config, cpu)
    parts = {"encoder": start.model.encoder, "decoder": start.model.decoder, "discriminator": start.discriminator}
    found = load_file(weights)
    assert {f"{name}.{key}" for name, part in parts.items() for key in part.state_dict()} == set(found)
    for name, part in parts.items():
        for key, parameter in part.named_parameters():
            assert 0 < (found[f"{name}.{key}"] - parameter).abs().max() < 0.01, f"{name}.{key}"


@pytest.fixture
def seen(monkeypatch):
    """The networks at the moment when training begins."""
    seen = {}

    def note(networks, *_arguments, **_options):
        for name, part in (("model", networks.model), ("discriminator", networks.discriminator)):
            seen.update({f"{name}.{key}": value.clone() for key, value in part.state_dict().items()})

    monkeypatch.setattr(pipeline, "train_networks", note)
    return seen


@pytest.mark.parametrize(
    ("preset", "variant"), [("paper", "r-u"), ("paper", "d-u"), ("paper", "d-w"), ("recommended", "r-u")]
)
def test_training_starts_from_the_file(category, weights, tmp_path, seen, preset, variant):
    train(category, tmp_path / "run", with_gan_weights(small_config(preset, variant), weights))
    file = load_file(weights)
    critic = {name: tensor for name, tensor in file.items() if name.startswith("discriminator.")}
    assert len(critic) > 10
    assert all(torch.equal(seen[name], tensor) for name, tensor in critic.items())
    others = {name: tensor for name, tensor in file.items() if not name.startswith("discriminator.")}
    is_equal = [
        f"model.{name}" in seen and torch.equal(seen[f"model.{name}"], tensor)
        for name, tensor in others.items()
        if "weight" in name
    ]
    assert all(is_equal) if variant.startswith("d") else not any(is_equal)


def test_the_run_says_which_weights_it_started_from(category, weights, tmp_path, run_folder):
    config = with_gan_weights(small_config("paper", "d-u", epochs=1), weights)
    run = train(category, tmp_path / "run", config)
    origin, none = (
        json.loads((folder / "model.json").read_text(encoding="utf-8"))["provenance"] for folder in (run, run_folder)
    )
    assert origin["gan_weights_sha256"] == sha256_of(weights)
    assert (origin["gan_weights"], origin["gan_weights_data"]) == ("celeba.safetensors", "img_align_celeba")
    assert origin["encoder"] == "D to layer4, trained, GAN weights celeba.safetensors"
    assert none["gan_weights"] is None
    # A resumed run goes on only from the same content, wherever the file lies.
    moved = Path(shutil.copy(weights, tmp_path / "moved.safetensors"))
    train(category, run, with_gan_weights(config, moved), resume=True)
    with pytest.raises(ResumeError, match="other images or settings"):
        train(category, run, small_config("paper", "d-u", epochs=1), resume=True)


def misfit(tmp_path, weights, kind):
    path = tmp_path / "w.safetensors"
    if kind == "encoder":
        save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    elif kind == "garbage":
        path.write_bytes(b"garbage")
    elif kind == "bit":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    elif kind == "record":
        path.write_bytes(weights.read_bytes().replace(b"img_align_celeba", b"img_align_celebb"))
    elif kind == "cut":
        path.write_bytes(weights.read_bytes()[:-1000])
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file of GAN weights"),
        ("encoder", "expected a file of `cavga pretrain`, found other weights (conv1.weight)"),
        ("garbage", "cannot be read as safetensors"),
        ("cut", "cannot be read as safetensors"),
        ("bit", "is damaged"),
        ("record", "is damaged"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_in_one_line(kind, said, category, weights, tmp_path, capsys):
    path, run = misfit(tmp_path, weights, kind), tmp_path / "run"
    flags = ("--variant", "d-u", "--preset", "paper", "--image-size", 32, *WIDTHS, "--gan-weights", path)
    code, _, err = run_command(capsys, "train", category, "--output", run, *flags)
    assert code == 1
    assert said in err
    assert str(path) in err
    assert is_one_complaint(err)
    assert not run.exists()


@pytest.mark.parametrize(
    ("variant", "flags", "said"),
    [
        ("d-u", ("--image-size", 32, "--latent-channels", 16, "--decoder-width", 4),
         "expected latent_channels 16, decoder_width 4, found latent_channels 8, decoder_width 8"),
        ("r-u", ("--image-size", 64), "expected discriminator_input 64, found discriminator_input 32"),
    ],
)  # fmt: skip
def test_a_file_of_other_sizes_is_refused_in_one_line(variant, flags, said, category, weights, tmp_path, capsys):
    settings = ("--preset", "paper", "--variant", variant, "--weights", "none", "--gan-weights", weights, *flags)
    code, _, err = run_command(capsys, "train", category, "--output", tmp_path / "run", *settings)
    assert code == 1
    assert said in err
    assert is_one_complaint(err)
    assert not (tmp_path / "run").exists()


def test_the_decoder_of_another_preset_does_not_fit_and_the_same_ones_does(category, faces, weights, tmp_path):
    config = small_config("recommended", "d-u")
    with pytest.raises(ModelFileError, match=r"expected latent_stride \d, found latent_stride 16"):
        train(category, tmp_path / "run", with_gan_weights(config, weights))
    sizes = as_dict(pretraining_config(epochs=1))
    chosen = {"data": {"image_size": (32, 32)}, "training": sizes["training"],
              "model": {"latent_channels": 8, "decoder_width": 8}}  # fmt: skip
    path = tmp_path / "recommended.safetensors"
    pretrain(faces, path, make_config("recommended", PRETRAINING, chosen))
    read_gan_weights(path).check_fit(config)


@pytest.mark.parametrize(
    ("variant", "model", "said"),
    [
        ("r-s", {"weights": "none"}, "trained without a discriminator"),
        ("d-u", {"weights": "other.safetensors"}, "both set the encoder of d-u"),
    ],
)
def test_settings_that_leave_no_use_for_the_file_are_wrong_usage(variant, model, said):
    with pytest.raises(UsageError, match=said):
        make_config("recommended", {"model": {"variant": variant, "gan_weights": "w.safetensors", **model}})


def test_an_interrupted_pretraining_ends_with_the_same_bits(faces, tmp_path):
    config = pretraining_config(epochs=2)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    pretrain(faces, whole, config)

    def stop(epochs):
        if epochs > 1.001:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(faces, parts, config, progress=AfterEachStep(stop))
    assert not parts.exists()
    with pytest.raises(UsageError, match="--resume"):
        pretrain(faces, parts, config)
    with pytest.raises(ResumeError, match="other images or settings"):
        pretrain(faces, parts, pretraining_config(epochs=3), resume=True)
    epochs = []
    pretrain(faces, parts, config, resume=True, progress=AfterEachStep(epochs.append))
    assert min(epochs) > 1.001
    assert max(epochs) == pytest.approx(2)
    assert parts.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "parts.unfinished").exists()
    with pytest.raises(UsageError, match="is there already"):
        pretrain(faces, parts, config)


def test_an_image_that_cannot_be_read_is_named(faces, tmp_path, capsys):
    folder = tmp_path / "faces"
    shutil.copytree(faces, folder)
    (folder / "000002.jpg").write_bytes(b"no picture")
    path = tmp_path / "w.safetensors"
    code, _, err = run_command(capsys, "pretrain", folder, "--output", path, *SMALL)
    assert code == 3
    assert "000002.jpg" in err
    assert is_one_complaint(err)
    assert [file.name for file in tmp_path.iterdir()] == ["faces"]
    code, _, err = run_command(capsys, "pretrain", folder, "--output", path, *SMALL, "--skip-bad")
    assert code == 4
    assert "000002.jpg" in err
    assert read_gan_weights(path).record["images"] == 15


def test_wrong_output_and_missing_folder(faces, tmp_path, capsys):
    code, _, err = run_command(capsys, "pretrain", faces, "--output", tmp_path / "w.pth", *SMALL)
    assert code == 2
    assert "ends in .safetensors" in err
    code, _, err = run_command(capsys, "pretrain", tmp_path / "nothing", "--output", tmp_path / "w.safetensors", *SMALL)
    assert code == 3
    assert is_one_complaint(err)


@pytest.mark.parametrize("table", ["table3", "table4", "table5", "table7", "table8"])
def test_rows_of_the_paper_say_whether_they_have_celeb_a(table, weights):
    without, given = (select_experiments(table, Selection(gan_weights=path)) for path in (None, weights))
    assert [cell.name for cell in without] == [cell.name for cell in given]
    for before, after in zip(without, given, strict=True):
        is_papers = before.method == "cavga" and before.preset == "paper"
        assert ("no Celeb-A" in before.note) == is_papers, before.name
        assert ("GAN weights celeba.safetensors" in after.note) == is_papers, after.name
        assert "no Celeb-A" not in after.note
        named = after.overrides.get("model", {}).get("gan_weights")
        assert named == (str(weights) if is_papers else None)
    assert any("no Celeb-A" in cell.note for cell in without)


def test_a_rows_settings_change_with_the_weights_content_and_not_without_any(weights, tmp_path):
    def settings(path):
        model = {"variant": "d-u"} if path is None else {"variant": "d-u", "gan_weights": str(path)}
        return _settings_of(Experiment("c", "d", preset="paper", overrides={"model": model}))

    other = tmp_path / weights.name
    other.write_bytes(weights.read_bytes()[:-1] + b"x")
    copied = Path(shutil.copy(weights, tmp_path / "copy.safetensors"))
    assert len({settings(path) for path in (None, weights, other)}) == 3
    assert settings(copied) == settings(weights)
    # As before there was such a setting, so that finished rows stay finished.
    plain = as_dict(make_config("paper", {"model": {"variant": "d-u"}}))
    del plain["training"]["device"], plain["model"]["gan_weights"]
    text = json.dumps([plain, "cavga", None, None, None], sort_keys=True)
    assert settings(None) == hashlib.sha256(text.encode()).hexdigest()


def test_benchmark_trains_its_rows_from_the_file(category, weights, tmp_path, monkeypatch, capsys):
    small = {
        "data": {"image_size": (32, 32)},
        "model": {"variant": "d-u", "latent_channels": 8, "decoder_width": 8},
        "training": {"epochs": 1, "batch_size": 5, "device": "cpu"},
    }
    monkeypatch.setitem(
        TABLES, "table5", lambda _seeds, _weights: [Experiment("d-u, paper", "lag", preset="paper", overrides=small)]
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "root/lag").symlink_to(category)
    flags = ("benchmark", "table5", "--data", tmp_path / "root", "--output", tmp_path / "out", "--json")
    code, out, err = run_command(capsys, *flags, "--gan-weights", weights)
    assert code == 0, err
    (row,) = json.loads(out)["rows"]
    assert row["note"] == "GAN weights celeba.safetensors"
    assert row["metrics"]["provenance"]["gan_weights_sha256"] == sha256_of(weights)
    assert "GAN weights celeba.safetensors" in (tmp_path / "out/table5.md").read_text(encoding="utf-8")
    code, out, _ = run_command(capsys, *flags)  # the finished row is not passed off as one without
    assert code == 4
    assert "other settings" in json.loads(out)["rows"][0]["error"]
    code, _, err = run_command(capsys, *flags, "--gan-weights", misfit(tmp_path, weights, "bit"))
    assert code == 1
    assert is_one_complaint(err)
