"""Pixel metrics: parity with scikit-learn and with a brute-force AUPRO, bounded memory, two passes."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sklearn_metrics

from cavga.metrics.pixel import PerImageCounts, PixelHistogram, pixel_metrics

KEYS = [
    "auroc",
    "average_precision",
    "aupro",
    "iou_dataset",
    "iou_per_image",
    "iou_dataset_oracle",
    "iou_per_image_oracle",
    "iou_uflow",
    "threshold",
    "resolution",
]

TRANSFORMS = {
    "normal": lambda x: x,
    "heavy_tailed": lambda x: np.sign(x) * np.abs(x) ** 9,
    "narrow": lambda x: 0.5 + 1e-3 * np.tanh(x),
    "negative": lambda x: -np.exp(-x),
    "discrete": lambda x: np.round(2 * x) / 10,
    "bounded": lambda x: 2 + np.tanh(x),
    "large": lambda x: 1e30 * x,
    "constant": lambda x: 0.25 + 0 * x,
}


def random_mask(rng, size):
    """One to three boxes; two of them may touch at a corner."""
    mask = np.zeros((size, size), bool)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(0, size - size // 4, 2)
        mask[y : y + rng.integers(1, size // 4), x : x + rng.integers(1, size // 4)] = True
    return mask


def random_maps(num_images, size, *, transform="normal", seed=0):
    """Every second image is anomalous; defects are one to two standard deviations higher."""
    for i in range(num_images):
        rng = np.random.default_rng([seed, i])
        mask = random_mask(rng, size) if i % 2 else np.zeros((size, size), bool)
        scores = rng.normal(size=(size, size)) + mask * rng.uniform(1, 2)
        yield TRANSFORMS[transform](scores).astype(np.float32), mask


def histogram_of(pairs, threshold=None, **settings):
    histogram = PixelHistogram(threshold, **settings)
    for anomaly_map, mask in pairs:
        histogram.update(anomaly_map, mask)
    return histogram


def pooled(pairs):
    maps, masks = zip(*pairs, strict=True)
    return np.stack(maps).ravel().astype(np.float64), np.stack(masks).ravel()


def brute_force_aupro(pairs, limit=0.3):
    """Every threshold, every region, straight from the definition."""
    pairs = list(pairs)
    labelled = [ndimage.label(mask, structure=[[1, 1, 1]] * 3) for _, mask in pairs]
    points = [(0.0, 0.0)]
    for threshold in sorted({float(value) for scores, _ in pairs for value in scores.ravel()}, reverse=True):
        num_alarms = sum(int(((scores >= threshold) & ~mask).sum()) for scores, mask in pairs)
        num_normal = sum(int((~mask).sum()) for _, mask in pairs)
        overlaps = [
            float((scores[regions == k] >= threshold).mean())
            for (scores, _), (regions, num_regions) in zip(pairs, labelled, strict=True)
            for k in range(1, num_regions + 1)
        ]
        points.append((num_alarms / num_normal, sum(overlaps) / len(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        width = min(x1, limit) - x0
        if width > 0:
            y_end = y0 + (y1 - y0) * width / (x1 - x0)
            area += width * (y0 + y_end) / 2
    return area / limit


@pytest.fixture
def by_hand():
    """A normal and an anomalous image, 2 x 4: three normal pixels tie or beat a defect."""
    normal_map = np.array([[0, 0, 1, 1], [0, 0, 0, 6]], np.float32)
    anomalous_map = np.array([[5, 3, 0, 2], [0, 0, 1, 1]], np.float32)
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0]], bool)
    return [(normal_map, np.zeros((2, 4), bool)), (anomalous_map, mask)]


def test_by_hand(by_hand):
    report = pixel_metrics(lambda: iter(by_hand), 3.0)
    found = report.metrics
    assert list(found) == KEYS
    # 13 normal pixels: 8 zeros, 4 ones, a 6. Each of 5, 3, 2 beats 12 of them.
    assert found["auroc"] == pytest.approx(36 / 39)
    # From the top: 6 normal, 5 (1/2), 3 (2/3), 2 (3/4).
    assert found["average_precision"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    # At 3: flagged 5, 3 (of 3 defects) and the 6: 2 / (3 + 1).
    assert found["iou_dataset"] == pytest.approx(2 / 4)
    # In the anomalous image alone: 2 of 3. In the normal one: 0 of 1 flagged.
    assert found["iou_per_image"] == pytest.approx(2 / 3)
    assert found["iou_uflow"] == pytest.approx((2 / 3 + 0) / 2)
    # At 2: 3 / (3 + 1) over the set, 3 of 3 in the anomalous image.
    assert found["iou_dataset_oracle"] == pytest.approx(3 / 4)
    assert found["iou_per_image_oracle"] == 1.0
    # Regions {5, 3} and {2}. Overlap 0 up to rate 1/13 (the 6), then 1 from there to 0.3.
    assert found["aupro"] == pytest.approx((0.3 - 1 / 13) / 0.3)
    assert found["threshold"] == 3.0
    assert found["resolution"] == [2, 4]


def test_oracle_thresholds_by_hand(by_hand):
    histogram = histogram_of(by_hand)
    assert histogram.oracle_iou() == (0.75, 2.0)
    counts = PerImageCounts(histogram.candidate_thresholds())
    for anomaly_map, mask in by_hand:
        counts.update(anomaly_map, mask)
    assert counts.edges.tolist() == [0, 1, 2, 3, 5, 6]
    assert counts.num_at_or_above()[0].T.tolist() == [[8, 3, 1, 1, 1, 1], [0] * 6]
    assert counts.num_at_or_above()[1].T.tolist() == [[5, 2, 0, 0, 0, 0], [3, 3, 3, 2, 1, 0]]
    assert counts.oracle_iou() == (1.0, 2.0)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_parity_with_sklearn_at_200_images(transform):
    histogram = histogram_of(random_maps(200, 64, transform=transform))
    scores, truth = pooled(random_maps(200, 64, transform=transform))
    assert histogram.auroc() == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores), abs=1e-4)
    precision = sklearn_metrics.average_precision_score(truth, scores)
    assert histogram.average_precision() == pytest.approx(precision, abs=1e-4)
    order = np.argsort(-scores, kind="stable")
    hits, flagged = np.cumsum(truth[order]), np.arange(1, len(scores) + 1)
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    ious = (hits / (truth.sum() + flagged - hits))[last_of_tie]
    assert histogram.oracle_iou()[0] == pytest.approx(ious.max(), abs=1e-4)


@pytest.mark.parametrize("transform", ["normal", "heavy_tailed", "negative", "discrete"])
def test_parity_with_doubled_bins(transform):
    # 2^10 keys: bins are doubled until 8 bits are gone, the coarsest they can get.
    histogram = histogram_of(random_maps(100, 32, transform=transform), max_keys=2**10)
    scores, truth = pooled(random_maps(100, 32, transform=transform))
    assert histogram.auroc() == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores), abs=1e-4)
    precision = sklearn_metrics.average_precision_score(truth, scores)
    assert histogram.average_precision() == pytest.approx(precision, abs=1e-4)
    exact = histogram_of(random_maps(100, 32, transform=transform))
    assert histogram.aupro() == pytest.approx(exact.aupro(), abs=1e-4)
    assert histogram.oracle_iou()[0] == pytest.approx(exact.oracle_iou()[0], abs=1e-4)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_aupro_against_brute_force(transform):
    found = histogram_of(random_maps(6, 16, transform=transform)).aupro()
    assert found == pytest.approx(brute_force_aupro(random_maps(6, 16, transform=transform)), abs=1e-9)


def test_regions_touching_at_a_corner_are_one():
    mask = np.eye(4, dtype=bool)
    histogram = histogram_of([(np.zeros((4, 4), np.float32), mask)])
    assert histogram.num_regions == 1


def test_aupro_weighs_regions_not_pixels():
    # Region of 1 pixel found first, region of 9 only after 30 % of the normal ones: mean overlap 1/2.
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[4:7, 4:7] = True
    anomaly_map = np.where(mask, -100, np.arange(64.0).reshape(8, 8)).astype(np.float32)
    anomaly_map[0, 0] = 100
    assert histogram_of([(anomaly_map, mask)]).aupro() == pytest.approx(0.5)


def test_perfect_maps():
    masks = [mask for _, mask in random_maps(4, 16)]
    found = pixel_metrics(lambda: iter([(mask.astype(np.float32), mask) for mask in masks]), 0.5).metrics
    for key in KEYS[:8]:
        assert found[key] == pytest.approx(1.0), key


def test_iou_counts_exactly_at_the_threshold():
    # Neighbouring floats: 8 dropped bits put all three in one bin, yet the count is exact.
    low = np.float32(0.7)
    mid = np.nextafter(low, np.float32(1))
    anomaly_map = np.array([[low, mid, np.nextafter(mid, np.float32(1))]], np.float32)
    mask = np.array([[False, True, True]])
    histogram = histogram_of([(anomaly_map, mask)], threshold=float(mid), max_keys=1)
    assert histogram.iou() == 1.0  # a score equal to the threshold counts
    assert histogram.oracle_iou() == (1.0, float(mid))
    assert histogram_of([(anomaly_map, mask)], threshold=0.7).iou() == pytest.approx(2 / 3)
    assert histogram_of([(anomaly_map, mask)]).iou() is None


def test_candidate_thresholds():
    histogram = histogram_of(random_maps(20, 64))
    edges = histogram.candidate_thresholds(64)
    assert len(edges) <= 64
    assert (np.diff(edges) > 0).all()
    scores, _ = pooled(random_maps(20, 64))
    assert edges[0] == scores.min()
    assert edges[-1] == scores.max()
    assert (scores >= edges[-8]).mean() < 0.001  # dense near the top


def test_no_anomalous_pixel_is_none():
    normal = [(scores, np.zeros_like(mask)) for scores, mask in random_maps(4, 16)]
    report = pixel_metrics(lambda: iter(normal), 100.0)
    kept = {key: value for key, value in report.metrics.items() if value is not None}
    # Nothing flagged, nothing there: the only figure that says so is U-Flow's.
    assert kept == {"threshold": 100.0, "resolution": [16, 16]}
    assert report.auroc_interval is None


def test_no_normal_pixel_is_none():
    anomalous = [(scores, np.ones_like(mask)) for scores, mask in random_maps(4, 16)]
    report = pixel_metrics(lambda: iter(anomalous), -100.0)
    assert [report.metrics[key] for key in KEYS[:3]] == [None, None, None]
    assert [report.metrics[key] for key in KEYS[3:8]] == [1.0] * 5
    assert report.auroc_interval is None


def test_no_image_is_none():
    report = pixel_metrics(lambda: iter([]), 0.5)
    assert all(report.metrics[key] is None for key in KEYS if key != "threshold")


def test_resolution_of_mixed_sizes_is_none():
    pairs = [*random_maps(2, 16), *random_maps(2, 20)]
    assert pixel_metrics(lambda: iter(pairs), 0.5).metrics["resolution"] is None


@pytest.mark.parametrize("counter", [PixelHistogram, lambda: PerImageCounts(np.zeros(1, np.float32))])
def test_bad_maps_are_named(counter):
    counter = counter()
    scores, mask = np.zeros((3, 4), np.float32), np.zeros((3, 4), bool)
    counter.update(scores, mask)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="image 1: expected finite scores, got nan at row 1, column 2"):
        counter.update(scores, mask)
    with pytest.raises(ValueError, match="one size"):
        counter.update(scores, mask[:2])


def test_bad_kinds_are_named_without_the_type_hook():
    from cavga.metrics.pixel import _check_map

    check = getattr(_check_map, "__wrapped__", _check_map)
    with pytest.raises(ValueError, match="float64 and uint8"):
        check(np.zeros((2, 2)), np.zeros((2, 2), np.uint8), index=0)


def test_monotone_transform_changes_no_ranking_metric():
    before = histogram_of(random_maps(8, 32))
    # Doubling is exact in float32, so order and ties stay as they are.
    after = histogram_of((4 * scores, mask) for scores, mask in random_maps(8, 32))
    assert after.auroc() == before.auroc()
    assert after.average_precision() == before.average_precision()
    assert after.aupro() == before.aupro()
    assert after.oracle_iou() == (before.oracle_iou()[0], 4 * before.oracle_iou()[1])
    bent = histogram_of((np.exp(scores / 2), mask) for scores, mask in random_maps(8, 32))
    assert bent.auroc() == pytest.approx(before.auroc(), abs=1e-5)
    assert bent.aupro() == pytest.approx(before.aupro(), abs=1e-5)


def test_buffering_changes_nothing(monkeypatch):
    whole = histogram_of(random_maps(10, 32))
    monkeypatch.setattr("cavga.metrics.pixel.BUFFERED_PIXELS", 1)  # merge after every image
    single = histogram_of(random_maps(10, 32))
    assert single.auroc() == whole.auroc()
    assert single.aupro() == pytest.approx(whole.aupro(), abs=1e-12)
    assert single.oracle_iou() == whole.oracle_iou()


def test_per_image_oracle_against_every_threshold():
    pairs = list(random_maps(30, 32))
    threshold = 1.3
    found = pixel_metrics(lambda: iter(pairs), threshold).metrics
    anomalous = [(scores, mask) for scores, mask in pairs if mask.any()]
    grid = np.linspace(-2, 5, 2000)
    curve = [np.mean([(m & (s >= t)).sum() / (m | (s >= t)).sum() for s, m in anomalous]) for t in grid]
    assert found["iou_per_image_oracle"] == pytest.approx(max(curve), abs=2e-3)
    at_threshold = [(m & (s >= threshold)).sum() / (m | (s >= threshold)).sum() for s, m in anomalous]
    assert found["iou_per_image"] == pytest.approx(np.mean(at_threshold))


def test_no_oracle_is_worse_than_the_threshold_in_use():
    pairs = list(random_maps(30, 32))
    for threshold in np.linspace(0.5, 3, 9):
        found = pixel_metrics(lambda: iter(pairs), float(threshold)).metrics
        assert found["iou_dataset_oracle"] >= found["iou_dataset"]
        assert found["iou_per_image_oracle"] >= found["iou_per_image"]


def test_interval_holds_the_estimate_and_shrinks():
    widths = []
    for num_images in (40, 640):
        report = pixel_metrics(lambda n=num_images: random_maps(n, 16), 1.0)
        low, high = report.auroc_interval
        assert 0 <= low < report.metrics["auroc"] < high <= 1
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.5)


def test_interval_against_a_plain_bootstrap():
    pairs = list(random_maps(20, 16))
    rng = np.random.default_rng(3)
    areas = []
    for _ in range(300):
        scores, truth = pooled([pairs[i] for i in rng.integers(0, len(pairs), len(pairs))])
        areas.append(sklearn_metrics.roc_auc_score(truth, scores))
    found = pixel_metrics(lambda: iter(pairs), 1.0).auroc_interval
    np.testing.assert_allclose(found, np.percentile(areas, [2.5, 97.5]), atol=0.01)


def test_interval_leaves_out_resamples_of_one_class():
    pairs = list(random_maps(2, 16))  # one normal, one anomalous image: a quarter draws no defect
    low, high = pixel_metrics(lambda: iter(pairs), 1.0).auroc_interval
    assert 0 < low <= high <= 1
    assert pixel_metrics(lambda: iter(pairs[1:]), 1.0).auroc_interval is None


def peak_bytes(num_images, size, **settings):
    tracemalloc.start()
    try:
        histogram = histogram_of(random_maps(num_images, size, transform="bounded"), **settings)
        histogram.auroc()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_images(monkeypatch):
    monkeypatch.setattr("cavga.metrics.pixel.BUFFERED_PIXELS", 2**16)
    few, many = (peak_bytes(n, 64, max_keys=2**16) for n in (200, 1000))
    assert many < 1.1 * few
    assert many < 2**24  # the scores alone are 2^24 bytes: 1,000 x 64 x 64 x 4


@pytest.mark.slow
def test_1000_images_of_256_pixels_in_bounded_memory():
    # 262 MB of scores.
    assert peak_bytes(1000, 256) < 120e6
    histogram = histogram_of(random_maps(1000, 256))
    scores, truth = pooled(random_maps(100, 256))
    # Same distribution, a tenth of the images: sampling error only.
    assert histogram.auroc() == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores), abs=0.02)
