"""Maps and scores that were made elsewhere are measured like a run's."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cavga.prediction.map_files import read_map
from tests.conftest import is_one_complaint, run_command, save_image, texture, write_category

NAMES = [f"test/{kind}/{i:03d}" for kind in ("good", "square") for i in range(4)]
SCORES = {"test/good/003": 0.65} | {name: 0.9 if "square" in name else 0.1 for name in NAMES[:3] + NAMES[4:]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """4 good images, 4 with a square from (10, 20) to (22, 32) of 48 x 48; nothing to train on."""
    return write_category(tmp_path_factory.mktemp("maps") / "part", num_train=1)


def perfect_map(name, *, size=48):
    """1 where the defect is, 0 elsewhere; a good image has 0.1 everywhere, one of them 0.65."""
    values = np.full((size, size), SCORES[name] if "good" in name else 0.0)
    if "square" in name:
        scale = size // 48
        values[10 * scale : 22 * scale, 20 * scale : 32 * scale] = SCORES[name]
    return values


def write_maps(folder, *, suffix=".npy", size=48, names=NAMES):
    for name in names:
        path = (folder / name).with_suffix(suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = perfect_map(name, size=size)
        if suffix == ".npy":
            np.save(path, values)
        elif suffix == ".tif":
            Image.fromarray(values.astype(np.float32)).save(path)
        else:
            Image.fromarray(np.rint(values * 65535).astype(np.uint16)).save(path)
    return folder


def write_scores(path, scores=SCORES, *, decisions=None):
    head = "image,score" if decisions is None else "image,score,is_anomalous"
    lines = [f"{k}.png,{v}" + ("" if decisions is None else f",{decisions[k]}") for k, v in scores.items()]
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def evaluated(capsys, *arguments, code=0):
    found, out, err = run_command(capsys, "evaluate", "--json", *arguments)
    assert found == code, err
    return json.loads(out)


def complaint(capsys, *arguments, code=3):
    found, out, err = run_command(capsys, "evaluate", *arguments)
    assert (found, out) == (code, ""), err
    assert is_one_complaint(err)
    return err


@pytest.mark.parametrize(("suffix", "size"), [(".npy", 48), (".tif", 96), (".png", 48)])
def test_maps_with_a_known_answer(data, tmp_path, capsys, suffix, size):
    maps = write_maps(tmp_path / "maps", suffix=suffix, size=size)
    unit = 65535 if suffix == ".png" else 1  # greys are values as they are
    metrics = evaluated(capsys, "--maps", maps, data, "--threshold", 0.5 * unit, "--pixel-threshold", 0.6 * unit)
    assert json.loads((maps / "metrics.json").read_text()).items() >= metrics.items()
    assert metrics["image"]["auroc"] == 1
    assert (metrics["image"]["recall"], metrics["image"]["false_alarm_rate"]) == (1, 0.25)
    # Good pixels: 0.1 in three images, 0.65 in one, 0 beside the squares; those of squares have 0.9.
    assert metrics["pixel"]["auroc"] == pytest.approx(1)
    assert metrics["pixel"]["resolution"] == "original"
    # 4 x 144 true pixels are found, and 48 x 48 marked in the good image of 0.65; halving a map changes little.
    assert metrics["pixel"]["iou_dataset"] == pytest.approx(576 / (576 + 48 * 48), rel=0.05 if size > 48 else 1e-6)
    assert metrics["provenance"]["image_score"] == "maximum of the map"
    assert metrics["counts"]["test_anomalous"] == metrics["counts"]["with_mask"] == 4
    lines = [json.loads(line) for line in (maps / "predictions.jsonl").read_text().splitlines()]
    assert {line["path"]: line["is_anomalous"] for line in lines}["test/good/003.png"] is True
    assert "false alarm" in (maps / "report.html").read_text(encoding="utf-8")


def test_without_thresholds_what_needs_one_is_null(data, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps")
    metrics = evaluated(capsys, data, "--maps", maps, "--evaluation-size", "24x12")
    decided = ("accuracy", "balanced_accuracy", "f1", "recall", "false_alarm_rate", "threshold")
    assert [metrics["image"][key] for key in decided] == [None] * 6
    assert metrics["image"]["auroc"] == 1
    assert (metrics["pixel"]["iou_dataset"], metrics["pixel"]["threshold"]) == (None, None)
    assert metrics["pixel"]["iou_dataset_oracle"] > 0.8
    assert metrics["pixel"]["resolution"] == [24, 12]
    assert metrics["intervals"]["recall"] is None
    page = (maps / "report.html").read_text(encoding="utf-8")
    assert "Without a threshold none was judged" in page
    assert "None" not in page


def test_scores_and_decisions_of_ones_own(data, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps")
    scores = SCORES | {"test/square/000": -3}
    decisions = {name: int(score > 0.5) for name, score in scores.items()}
    file = write_scores(tmp_path / "scores.csv", scores, decisions=decisions)
    metrics = evaluated(capsys, "--maps", maps, "--scores", file, data)
    assert metrics["image"]["auroc"] == pytest.approx(12 / 16)
    assert (metrics["image"]["recall"], metrics["image"]["false_alarm_rate"]) == (0.75, 0.25)
    assert metrics["image"]["threshold"] is None
    assert metrics["by_defect_type"]["square"]["recall"] == 0.75
    page = (maps / "report.html").read_text(encoding="utf-8")
    assert "<b>3 of 4</b> defective photographs called anomalous" in page
    metrics = evaluated(capsys, "--maps", maps, "--scores", file, data, "--threshold", "-5")
    assert metrics["image"]["false_alarm_rate"] == 1  # a threshold goes before the file's decisions


def test_a_missing_map_and_a_missing_score_are_named(data, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps", names=NAMES[:-1])
    file = write_scores(tmp_path / "scores.csv", {name: SCORES[name] for name in NAMES[1:]})
    code, _, err = run_command(capsys, "evaluate", "--maps", maps, "--scores", file, data)
    assert code == 4
    assert "test/square/003.png: has no map; expected test/square/003 with a suffix of .npy" in err
    assert "test/good/000.png: has no score" in err
    metrics = json.loads((maps / "metrics.json").read_text())
    assert (metrics["counts"]["unreadable"], metrics["counts"]["test_anomalous"]) == (2, 3)


def test_unique_stems_are_enough_and_other_files_do_not_matter(tmp_path, capsys):
    for i in range(6):
        save_image(tmp_path / f"data/test/{'good' if i < 3 else 'bad'}/img.{i}.png", texture(i))
    save_image(tmp_path / "data/train/good/000.png", texture(9))
    (tmp_path / "maps").mkdir()
    for i in range(6):
        np.save(tmp_path / f"maps/img.{i}.npy", np.full((1, 5, 7), float(i)))
    np.save(tmp_path / "maps/of_another.npy", np.zeros((2, 2)))
    metrics = evaluated(capsys, "--maps", tmp_path / "maps", tmp_path / "data")
    assert metrics["image"]["auroc"] == 1
    assert metrics["pixel"]["auroc"] is None
    assert metrics["provenance"]["unused_maps"] == 1
    assert not (tmp_path / "maps/pixel_counts.npz").exists()


def test_what_predict_wrote_gives_the_runs_own_figures(run_folder, category, tmp_path, capsys):
    own = evaluated(
        capsys, run_folder, "--output", tmp_path / "own", category, "--evaluation-size", "original"
    )  # RUN and DATA need not stand together
    threshold = ("--pixel-threshold", own["pixel"]["threshold"])
    for kind, inputs in (("float32", category), ("uint16", category / "test")):
        folder = tmp_path / kind
        assert run_command(capsys, "predict", run_folder, inputs, "--output", folder, "--maps", kind)[0] == 0
        found = evaluated(
            capsys, "--maps", folder / "maps", "--scores", folder / "predictions.jsonl", category, *threshold
        )
        assert found["image"] == pytest.approx(own["image"], abs=1e-6)
        assert found["intervals"]["image_auroc"] == own["intervals"]["image_auroc"]
        if kind == "float32":  # greys are clipped at twice the threshold, which changes the ranking but no decision
            assert found["pixel"]["auroc"] == pytest.approx(own["pixel"]["auroc"], abs=1e-9)
            assert found["pixel"]["aupro"] == pytest.approx(own["pixel"]["aupro"], abs=1e-9)
        assert found["pixel"]["iou_dataset"] == pytest.approx(own["pixel"]["iou_dataset"], abs=1e-9)


def test_greys_become_the_values_that_they_stand_for(run_folder, category, tmp_path, capsys):
    values = []
    for kind in ("float32", "uint16"):
        arguments = ("--output", tmp_path / kind, "--maps", kind)
        assert run_command(capsys, "predict", run_folder, category / "test/good", *arguments)[0] == 0
        values.append(read_map(tmp_path / kind / "maps/000.tiff"))
    threshold = json.loads((run_folder / "model.json").read_text())["calibration"]["pixel_threshold"]
    clipped = np.clip(values[0], 0, 2 * threshold)
    assert values[1] == pytest.approx(clipped, abs=threshold / 65535 * 1.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,score\nx,1\n", "line 1: no column 'image'; expected image,score"),
        ("image\nx\n", "no column 'score'"),
        ("image,score\n", "holds no scores"),
        ("image,score\ntest/good/000.png,nan\n", "line 2: score 'nan'; expected a finite number"),
        ("image,score\ntest/good/000.png,high\n", "line 2: score 'high'"),
        ("image,score\nnothing.png,1\n", "line 2: image 'nothing.png' is not in the data set"),
        ("image,score\n000.png,1\n", "may mean test/good/000.png or test/square/000.png"),
        ("image,score\ngood/000.png,1\ntest/good/000,1\n", "line 3: second score of test/good/000.png"),
        ("image,score\ntest/good/000.png\n", "line 2: 1 cells, but 2 columns"),
        ("image,score,is_anomalous\ngood/000,1,maybe\n", "is_anomalous 'maybe'"),
        ("image,score,is_anomalous\ngood/000,1,1\ngood/001,1,\n", "given in some rows and missing in others"),
    ],
)
def test_wrong_scores_are_one_line_with_their_place(data, tmp_path, capsys, text, message):
    maps = write_maps(tmp_path / "maps")
    (tmp_path / "s.csv").write_text(text)
    err = complaint(capsys, "--maps", maps, "--scores", tmp_path / "s.csv", data)
    assert "s.csv" in err
    assert message in err
    assert not (maps / "metrics.json").exists()


def nan_map(path):
    values = perfect_map("test/good/000")
    values[3, 4] = np.nan
    np.save(path, values)


@pytest.mark.parametrize(
    ("suffix", "write", "message"),
    [
        (".npy", nan_map, "expected finite values, got nan at row 3, column 4"),
        (".npy", lambda path: np.save(path, np.zeros((3, 48, 48))), "got float64 of shape 3 x 48 x 48"),
        (".npy", lambda path: np.save(path, np.array([["a"]])), "expected a map of numbers"),
        (".npy", lambda path: np.save(path, np.array([[{}]], dtype=object)), "cannot be read as one"),
        (".npy", lambda path: path.write_bytes(b"nonsense"), "cannot be read as one"),
        (".png", lambda path: save_image(path, np.zeros((8, 8, 3), np.uint8)), "picture of mode RGB"),
        (".tif", lambda path: path.write_bytes(b"nonsense"), "is not a PNG, JPEG"),
    ],
)
def test_a_broken_map_is_one_line_with_its_name(data, tmp_path, capsys, suffix, write, message):
    maps = write_maps(tmp_path / "maps")
    (maps / "test/good/000.npy").unlink()
    write(maps / f"test/good/000{suffix}")
    err = complaint(capsys, "--maps", maps, data)
    assert f"000{suffix}" in err
    assert message in err


def test_ambiguous_maps(data, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(maps / "test/good/000.png")
    assert "test/good/000.png has two maps" in complaint(capsys, "--maps", maps, data)
    (maps / "test/good/000.png").unlink()
    shutil.move(maps / "test/good/000.npy", maps / "000.npy")
    assert "may mean test/good/000.png or test/square/000.png" in complaint(capsys, "--maps", maps, data)
    shutil.rmtree(maps / "test")
    (maps / "000.npy").rename(maps / "x.npy")
    assert "none of its 1 maps is of a test image; expected test/good/000" in complaint(capsys, "--maps", maps, data)
    assert "expected a folder of maps" in complaint(capsys, "--maps", tmp_path / "nothing", data)


def test_wrong_usage(data, run_folder, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps")
    for arguments, message in (
        (("RUN",), "the following arguments are required: DATA"),
        ((run_folder, data, "--maps", maps), "--maps takes the place of RUN"),
        ((run_folder, data, "--threshold", "1"), "go with --maps"),
        ((run_folder, data, "--evaluation-size", "64"), "goes with --maps"),
        (("--maps", maps, data, "--self-test"), "there is no model"),
        (("--maps", maps, data, "--threshold", "nan"), "--threshold must be a finite number"),
        (("--maps", maps, data, "--output", run_folder), "holds its own results"),
        (("--maps", maps, data, "--scores", maps / "predictions.jsonl"), "would be overwritten"),
        (("--maps", maps, data, "--scores", "scores.txt"), "expected a .csv"),
    ):
        assert message in complaint(capsys, *arguments, code=2)
