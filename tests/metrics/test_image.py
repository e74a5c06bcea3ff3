"""Image metrics: hand values, parity with scikit-learn, what is None, and the intervals."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cavga.metrics.image import auroc, auroc_interval, image_iou, image_metrics, iou_per_image, iou_uflow

KEYS = {
    "auroc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "recall",
    "false_alarm_rate",
    "f1_max_oracle",
    "threshold",
}


def random_images(num_normal=60, num_anomalous=40, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=num_normal), rng.normal(shift, size=num_anomalous)])
    return scores.astype(np.float32), np.repeat([0, 1], [num_normal, num_anomalous])


def test_image_metrics_by_hand():
    # Threshold 3: flagged 3, 5 (anomalous: 2 hits of 3) and 4 (normal: 1 alarm of 3).
    found = image_metrics([1.0, 2.0, 4.0, 0.0, 3.0, 5.0], [0, 0, 0, 1, 1, 1], 3.0)
    assert set(found) == KEYS
    # Pairs (anomalous above normal): 0 beats none, 3 beats 1 and 2, 5 beats all: 5 of 9.
    assert found["auroc"] == pytest.approx(5 / 9)
    # From the top: 5 hit (1/1), 4, 3 hit (2/3), 2, 1, 0 hit (3/6); mean of the three.
    assert found["average_precision"] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["false_alarm_rate"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    # At 0 all six are flagged: 6 / (6 + 3) = 2/3; at 3 also 2/3; at 5: 2 / (2 + 2) = 1/2.
    assert found["f1_max_oracle"] == pytest.approx(2 / 3)
    assert found["threshold"] == 3.0


def test_large_scores_are_not_squashed():
    # A sigmoid makes all four 1.0 in float32, which would read 0.5.
    assert auroc([18, 19, 20, 21], [0, 0, 1, 1]) == 1.0


def test_ties_count_half():
    # Pairs: (1 vs 1) half, (1 vs 2) none, (3 vs 1) and (3 vs 2) whole: 2.5 of 4.
    assert auroc([1, 2, 1, 3], [0, 0, 1, 1]) == pytest.approx(2.5 / 4)


def test_parity_with_sklearn():
    scores, labels = random_images()
    found = image_metrics(scores, labels, 0.4)
    predicted = scores >= np.float32(0.4)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    best = max(sklearn_metrics.f1_score(labels, scores >= t) for t in scores)
    assert found["f1_max_oracle"] == pytest.approx(best)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_none_not_zero(label):
    found = image_metrics([0.1, 0.9], [label, label], 0.5)
    for key in ("auroc", "average_precision", "balanced_accuracy", "f1_max_oracle"):
        assert found[key] is None
    assert found["accuracy"] == 0.5
    assert found["false_alarm_rate"] == (0.5 if label == 0 else None)
    assert found["recall"] == (0.5 if label == 1 else None)
    assert (found["f1"] is None) == (label == 0)
    assert auroc([0.1, 0.9], [label, label]) is None
    assert auroc_interval([0.1, 0.9], [label, label]) is None


def test_no_images_is_none():
    found = image_metrics([], [], 0.5)
    assert all(found[key] is None for key in KEYS - {"threshold"})


def test_nothing_flagged_is_zero_not_none():
    found = image_metrics([0.1, 0.2], [0, 1], 0.5)
    assert (found["recall"], found["f1"], found["false_alarm_rate"]) == (0.0, 0.0, 0.0)


def test_score_equal_to_threshold_counts():
    assert image_metrics([0.5, 0.5], [0, 1], 0.5)["recall"] == 1.0
    # float32(0.7) is below 0.7; the threshold is compared in the scores' precision.
    assert image_metrics(np.array([0.1, 0.7], np.float32), [0, 1], 0.7)["recall"] == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [0, 1], "got nan at index 1"),
        ([float("inf"), 0.1], [0, 1], "got inf at index 0"),
        ([0.1, 0.2], [0, 2], "got 2 at index 1"),
        ([0.1, 0.2], [0], "one label per score"),
        ([[0.1, 0.2]], [[0, 1]], "one label per score"),
    ],
)
def test_bad_input_is_named(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        image_metrics(scores, labels, 0.5)


def test_monotone_transform_changes_no_ranking_metric():
    scores, labels = random_images()
    before = image_metrics(scores.astype(np.float64), labels, 0.4)
    after = image_metrics(np.exp(3 * scores.astype(np.float64)) - 7, labels, np.exp(3 * 0.4) - 7)
    assert {**before, "threshold": None} == pytest.approx({**after, "threshold": None})


def test_interval_holds_the_estimate_and_shrinks():
    widths = []
    for factor in (1, 16):
        scores, labels = random_images(30 * factor, 20 * factor)
        low, high = auroc_interval(scores, labels)
        assert 0 <= low < auroc(scores, labels) < high <= 1
        widths.append(high - low)
    # 16 times the images: a quarter of the width, give or take.
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.5)


def test_interval_against_a_plain_bootstrap():
    scores, labels = random_images()
    rng = np.random.default_rng(5)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    areas = []
    for _ in range(10_000):
        a, n = rng.choice(anomalous, len(anomalous)), rng.choice(normal, len(normal))
        areas.append(np.mean((a[:, None] > n) + 0.5 * (a[:, None] == n)))
    found = auroc_interval(scores, labels, num_resamples=10_000)
    np.testing.assert_allclose(found, np.percentile(areas, [2.5, 97.5]), atol=0.006)


def test_interval_repeats_and_follows_the_seed(monkeypatch):
    scores, labels = random_images()
    assert auroc_interval(scores, labels) == auroc_interval(scores, labels)
    assert auroc_interval(scores, labels) != auroc_interval(scores, labels, seed=1)
    monkeypatch.setattr("cavga.metrics.curves.CHUNK_VALUES", 1000)  # many chunks
    low, high = auroc_interval(scores, labels, num_resamples=205)
    assert low < auroc(scores, labels) < high


def test_interval_of_a_perfect_split_is_a_point():
    assert auroc_interval([1, 2, 3, 4], [0, 0, 1, 1]) == [1.0, 1.0]


def test_image_ious():
    empty, one = np.zeros((2, 2), bool), np.array([[True, False], [False, False]])
    two = np.array([[True, True], [False, False]])
    assert image_iou(empty, empty) is None
    assert image_iou(two, one) == 0.5  # 1 shared of 2
    assert image_iou(empty, one) == 0.0
    ious = [None, 0.5, 0.0, 0.0]  # the last: something predicted on a normal image
    assert iou_per_image(ious, [False, True, True, False]) == pytest.approx((0.5 + 0) / 2)
    assert iou_uflow(ious) == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert iou_per_image([None], [False]) is None
    assert iou_uflow([]) is None


def test_import_is_light():
    code = "import sys, cavga.metrics.pixel; print({'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
