"""The command line on made data in the layouts of known sets, from check to evaluate."""

import json

import pytest

from cavga.config.toml import write_toml
from tests.conftest import run_command, small_config
from tests.data.made_sets import classes, idx, lag, shanghaitech


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(write_toml(small_config(epochs=1)), encoding="utf-8")
    return path


def test_one_class_of_mnist_from_check_to_predict(tmp_path, capsys, settings):
    idx(tmp_path / "MNIST/raw", num_train=60)
    data, run = tmp_path / "MNIST", tmp_path / "run"
    code, out, _ = run_command(capsys, "check", data, "--normal-class", "7")
    assert code == 0
    assert "layout idx, normal class 7" in out
    assert "MNIST with normal class 7 has 6265 normal training images, here 6" in out
    code, out, err = run_command(capsys, "train", data, "--output", run, "--config", settings, "--normal-class", "7")
    assert code == 0, err
    assert "on 6 good images (layout idx)" in out
    rows = (run / "manifest.csv").read_text().splitlines()
    assert len(rows) == 1 + 6
    assert all("/train/7/" in row for row in rows[1:])
    code, out, err = run_command(capsys, "evaluate", run, data, "--json")  # the class is the run's
    assert code == 0, err
    metrics = json.loads(out)
    assert {key: metrics["counts"][key] for key in ("test_normal", "test_anomalous", "with_mask", "excluded")} == {
        **{"test_normal": 2, "test_anomalous": 18, "with_mask": 0, "excluded": 0}
    }
    assert metrics["image"]["auroc"] is not None
    assert metrics["pixel"]["auroc"] is None
    assert set(metrics["by_defect_type"]) == set("012345689")
    code, out, _ = run_command(
        capsys, "evaluate", run, data, "--json", "--normal-class", "3", "--output", tmp_path / "three"
    )
    assert "3" not in json.loads(out)["by_defect_type"]
    code, out, err = run_command(capsys, "predict", run, data, "--output", tmp_path / "p", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 80


def test_a_training_image_that_is_in_the_test_split_too_is_left_out_of_the_test(tmp_path, capsys, settings):
    data = classes(tmp_path / "set", ("cat", "dog"), num_train=4)
    (data / "test/cat/00009.png").write_bytes((data / "train/cat/00000.png").read_bytes())
    code, _, err = run_command(
        capsys, "train", data, "--output", tmp_path / "run", "--config", settings, "--normal-class", "cat"
    )
    assert code == 0, err
    code, out, _ = run_command(capsys, "evaluate", tmp_path / "run", data, "--json")
    assert (json.loads(out)["counts"]["excluded"], json.loads(out)["counts"]["test_normal"]) == (1, 2)


def test_lag_is_evaluated_at_any_cut_of_its_maps(tmp_path, capsys, settings):
    data, run = lag(tmp_path / "lag"), tmp_path / "run"
    code, _, err = run_command(capsys, "train", data, "--output", run, "--config", settings, "--mask-cut", "0.75")
    assert code == 0, err
    found = {}
    for cut in (None, 0.25, 0.75):
        flags = () if cut is None else ("--mask-cut", cut)
        code, out, err = run_command(capsys, "evaluate", run, data, "--json", "--output", tmp_path / "e", *flags)
        assert code == 0, err
        found[cut] = json.loads(out)["pixel"]
    assert found[None] == found[0.75]  # the run's own
    assert found[None] != found[0.25]


def test_a_scene_of_shanghaitech_is_trained_and_evaluated(tmp_path, capsys, settings):
    data, run = shanghaitech(tmp_path / "shanghaitech"), tmp_path / "run"
    code, _, err = run_command(capsys, "train", data, "--output", run, "--config", settings, "--category", "01")
    assert code == 0, err
    code, out, err = run_command(capsys, "evaluate", run, data, "--category", "01", "--json")
    assert code == 0, err
    assert json.loads(out)["counts"]["with_mask"] == 2


@pytest.mark.parametrize(
    ("make", "flags", "code", "message"),
    [
        (lambda root: idx(root / "raw"), (), 2, "choose the normal one with normal_class (--normal-class): 0, 1, 2"),
        (lambda root: classes(root, ("cat", "dog")), ("--normal-class", "cta"), 2, "expected one of cat, dog"),
        (shanghaitech, (), 2, "choose one: 01, 02, 13"),
        (lag, ("--normal-class", "0"), 2, "has layout lag, not several classes"),
        (lag, ("--mask-cut", "1.5"), 2, "mask_cut must lie between 0 and 1"),
        (lambda root: (root / "data_batch_1").write_bytes(b""), ("--normal-class", "cat"), 3, "pickles"),
        (lambda root: root.rmdir(), (), 3, "MNIST is at"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(tmp_path, capsys, make, flags, code, message):
    data = tmp_path / "MNIST"
    data.mkdir()
    make(data)
    found, _, err = run_command(capsys, "train", data, "--output", tmp_path / "run", *flags)
    assert found == code
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
