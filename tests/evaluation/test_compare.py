"""Two evaluations of the same images: paired intervals that cover the truth, and honest words."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cavga.evaluation.compare import compare_evaluations
from cavga.metrics.bootstrap import auroc_of, average_precision_of, paired_differences
from tests.conftest import is_one_complaint, run_command, write_category


def write_evaluation(folder, scores, labels, *, threshold=0.5, names=None, hashes=None):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "path": names[i] if names else f"test/{i}.png",
            "score": float(score),
            "threshold": threshold,
            "is_anomalous": None if threshold is None else bool(score >= threshold),
            "label": int(label),
            "sha256": hashes[i] if hashes else None,
        }
        for i, (score, label) in enumerate(zip(scores, labels, strict=True))
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def two_methods(rng, labels, *, shifts, shared=0.9):
    """Scores of two methods that find the same images hard."""
    hardness = rng.normal(size=len(labels))
    noise = np.sqrt(1 - shared**2)
    return [shift * labels + shared * hardness + noise * rng.normal(size=len(labels)) for shift in shifts]


def test_a_better_method_is_told_from_a_worse_one(tmp_path, capsys):
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], 60)
    a, b = two_methods(rng, labels, shifts=(1.0, 1.6))
    folders = [write_evaluation(tmp_path / name, scores, labels) for name, scores in (("a", a), ("b", b))]
    code, out, err = run_command(capsys, "compare", *folders, "--json", "--output", tmp_path / "out")
    assert code == 0, err
    result = json.loads(out)
    assert result == json.loads((tmp_path / "out/compare.json").read_text())
    found = result["metrics"]
    assert found["image_auroc"]["a"] == pytest.approx(roc_auc_score(labels, a))
    assert found["image_auroc"]["difference"] == pytest.approx(roc_auc_score(labels, b) - roc_auc_score(labels, a))
    assert found["image_average_precision"]["b"] == pytest.approx(average_precision_score(labels, b))
    assert found["recall"]["a"] == pytest.approx(np.mean(a[60:] >= 0.5))
    assert found["false_alarm_rate"]["b"] == pytest.approx(np.mean(b[:60] >= 0.5))
    assert found["balanced_accuracy"]["b"] == pytest.approx((np.mean(b[60:] >= 0.5) + np.mean(b[:60] < 0.5)) / 2)
    assert found["image_auroc"]["better"] == "b"
    assert (result["resamples"], result["seed"]) == (10_000, 0)
    swapped = compare_evaluations(folders[1], folders[0])
    assert swapped["metrics"]["image_auroc"]["better"] == "a"
    assert swapped["metrics"]["image_auroc"]["interval"] == pytest.approx(
        [-end for end in reversed(found["image_auroc"]["interval"])]
    )
    assert "pixel_counts.npz does not exist" in result["not_available"]["pixel_auroc"]
    code, out, _ = run_command(capsys, "compare", *folders)
    assert out.splitlines()[-1].startswith("by image AUROC: B is better (B - A +0.")


def test_more_false_alarms_are_not_better(tmp_path):
    labels = np.repeat([0, 1], 40)
    quiet = write_evaluation(tmp_path / "quiet", np.where(labels, 0.9, 0.1), labels)
    loud = write_evaluation(tmp_path / "loud", np.where(labels, 0.9, np.linspace(0, 1.98, 80)), labels)
    found = compare_evaluations(quiet, loud)["metrics"]["false_alarm_rate"]
    assert found["difference"] == found["b"] > 0
    assert found["verdict"] == "A is better"


def test_resampled_values_are_those_of_scikit_learn():
    rng, labels = np.random.default_rng(1), np.array([0, 0, 0, 1, 1, 1, 1])
    scores = np.array([1.0, 2.0, 2.0, 2.0, 0.5, 3.0, 3.0])
    draws = np.stack([np.bincount(rng.integers(0, 3, 3), minlength=3) for _ in range(20)])
    draws = np.hstack([draws, [np.bincount(rng.integers(0, 4, 4), minlength=4) for _ in range(20)]]).astype(float)
    for statistic, expected in ((auroc_of, roc_auc_score), (average_precision_of, average_precision_score)):
        for drawn, value in zip(draws, statistic(scores, labels)(draws), strict=True):
            times = drawn.astype(int)
            assert value == pytest.approx(expected(np.repeat(labels, times), np.repeat(scores, times)))


def test_the_interval_covers_the_truth():
    """Two methods of one true AUROC difference: 95 % intervals hold it in about 95 of 100 samples."""
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], 50)
    many = np.repeat([0, 1], 100_000)
    a, b = two_methods(rng, many, shifts=(1.0, 1.3))
    truth = roc_auc_score(many, b) - roc_auc_score(many, a)
    is_covered, widths = [], []
    for _ in range(100):
        pair = [auroc_of(scores, labels) for scores in two_methods(rng, labels, shifts=(1.0, 1.3))]
        low, high = paired_differences({"auroc": tuple(pair)}, labels, num_resamples=500)["auroc"].interval
        is_covered.append(low <= truth <= high)
        widths.append(high - low)
    assert 88 <= sum(is_covered) <= 99
    assert np.mean(widths) < 0.15  # pairing is what makes it narrow: drawn apart, it would be about 0.25


def test_identical_evaluations_differ_by_nothing(tmp_path, run_folder, category, capsys):
    for name in "ab":
        assert run_command(capsys, "evaluate", run_folder, category, "--output", tmp_path / name)[0] == 0
    result = compare_evaluations(tmp_path / "a", tmp_path / "b/metrics.json")
    metrics = json.loads((tmp_path / "a/metrics.json").read_text())
    assert set(result["metrics"]) == {
        "image_auroc", "image_average_precision", "balanced_accuracy", "recall", "false_alarm_rate",
        "pixel_auroc", "iou_dataset", "iou_per_image",
    }  # fmt: skip
    for found in result["metrics"].values():
        assert (found["difference"], found["interval"], found["verdict"]) == (0, [0, 0], "not distinguishable")
    assert result["images"]["common"] == 8
    assert "only 4 images of one kind" in result["warning"]
    # What is compared is what metrics.json says.
    assert result["metrics"]["image_auroc"]["a"] == pytest.approx(metrics["image"]["auroc"])
    assert result["metrics"]["pixel_auroc"]["a"] == pytest.approx(metrics["pixel"]["auroc"], abs=1e-3)
    for name in ("iou_dataset", "iou_per_image"):
        assert result["metrics"][name]["a"] == pytest.approx(metrics["pixel"][name])


def test_pixels_of_better_maps_are_better(tmp_path, capsys):
    data = write_category(tmp_path / "data", num_train=1, num_good=12, num_bad=12)
    rng = np.random.default_rng(0)
    for name, strength in (("a", 0.5), ("b", 2.0)):
        for path in sorted(data.glob("test/*/*.png")):
            values = rng.normal(size=(48, 48))
            if "square" in path.as_posix():
                values[10:22, 20:32] += strength
            target = tmp_path / name / path.relative_to(data).with_suffix(".npy")
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, values)
        arguments = ("evaluate", "--maps", tmp_path / name, data, "--pixel-threshold", 2)
        assert run_command(capsys, *arguments)[0] == 0
    result = compare_evaluations(tmp_path / "a", tmp_path / "b")
    for name in ("pixel_auroc", "iou_dataset", "iou_per_image"):
        assert result["metrics"][name]["better"] == "b", name
    # A normal value is above another in 1/2 of the pairs, above one that is 0.5 (2.0) higher in 0.638 (0.921).
    assert result["metrics"]["pixel_auroc"]["a"] == pytest.approx(0.638, abs=0.02)
    assert result["metrics"]["pixel_auroc"]["b"] == pytest.approx(0.921, abs=0.02)
    assert result["not_available"] == dict.fromkeys(
        ("balanced_accuracy", "recall", "false_alarm_rate"), "A and B: no decisions, as no threshold was given"
    )
    assert run_command(capsys, "evaluate", "--maps", tmp_path / "b", data, "--evaluation-size", "32")[0] == 0
    reason = compare_evaluations(tmp_path / "a", tmp_path / "b")["not_available"]["pixel_auroc"]
    assert reason == "pixels were counted at original in A, at [32, 32] in B: choose one --evaluation-size"


def test_images_meet_by_content_then_by_path(tmp_path):
    labels = [0, 0, 1, 1, 1]
    # "copy" is there twice in either; its two files are matched by path. "new" has the path of another image.
    a = write_evaluation(
        tmp_path / "a", [1, 2, 3, 4, 5], labels,
        names=["g/0", "g/1", "b/0", "b/1", "b/2"], hashes=["h0", "copy", "copy", "h3", "old"],
    )  # fmt: skip
    b = write_evaluation(
        tmp_path / "b", [6, 1, 2, 3, 4], [0, 0, 0, 1, 1],
        names=["extra", "elsewhere", "g/1", "b/0", "b/2"], hashes=["h9", "h0", "copy", "copy", "new"],
    )  # fmt: skip
    images = compare_evaluations(a, b)["images"]
    assert (images["common"], images["only_in_a"], images["only_in_b"]) == (3, 2, 2)
    # Where one does not know the contents, paths decide.
    c = write_evaluation(tmp_path / "c", [1, 2, 3], [0, 1, 1], names=["g/0", "b/0", "b/2"])
    assert compare_evaluations(a, c)["images"]["common"] == 3


def complaint(capsys, *arguments, code=3):
    found, out, err = run_command(capsys, "compare", *arguments)
    assert (found, out) == (code, ""), err
    assert is_one_complaint(err)
    return err


def test_what_cannot_be_compared_is_one_line(tmp_path, capsys):
    a = write_evaluation(tmp_path / "a", [1, 2], [0, 1])
    other = write_evaluation(tmp_path / "other", [1, 2], [1, 1])
    assert "test/0.png has label 0 in" in complaint(capsys, a, other)
    elsewhere = write_evaluation(tmp_path / "elsewhere", [1, 2], [0, 1], names=["x", "y"])
    assert "no image in common" in complaint(capsys, a, elsewhere)
    assert "cavga evaluate" in complaint(capsys, a, tmp_path / "nothing")
    twice = write_evaluation(tmp_path / "twice", [1, 2], [0, 1], names=["x", "x"])
    assert "line 2: x is there twice" in complaint(capsys, a, twice)
    for text in (
        "nonsense\n",
        "[]\n",
        '{"path": "x", "score": NaN, "label": 0}\n',
        '{"path": 1, "score": 1, "label": 0}\n',
    ):
        (tmp_path / "p.jsonl").write_text(text)
        assert "p.jsonl, line 1: expected a line of `cavga evaluate`" in complaint(capsys, a, tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text('{"path": "x", "score": 1, "label": null}\n')
    assert "holds no image with a score and a label" in complaint(capsys, a, tmp_path / "p.jsonl")
    (a / "pixel_counts.npz").write_bytes(b"nonsense")
    (a / "metrics.json").write_text('{"pixel": {"resolution": [2, 2]}}')
    assert "not the pixel counts" in complaint(capsys, a, a)
    assert "expected a folder" in complaint(capsys, a, a, "--output", tmp_path / "p.jsonl", code=2)


def test_one_kind_of_images_is_no_comparison(tmp_path):
    a = write_evaluation(tmp_path / "a", [1, 2], [1, 1])
    result = compare_evaluations(a, a)
    assert result["metrics"] == {}
    assert result["verdict"] == "image AUROC cannot be compared"
    assert "only one kind is common" in result["not_available"]["recall"]
