import numpy as np

from cavga.metrics.curves import order_preserving_keys, scores_of_keys


def test_keys_preserve_order_and_come_back():
    rng = np.random.default_rng(0)
    scores = rng.standard_cauchy(1000).astype(np.float32) ** 3
    largest = np.finfo(np.float32).max
    scores = np.sort(np.append(scores, np.array([0.0, 1e-45, -1e-45, largest, -largest], np.float32)))
    keys = order_preserving_keys(scores)
    assert (np.diff(keys.astype(np.int64)) >= 0).all()
    np.testing.assert_array_equal(scores_of_keys(keys), scores)
    assert order_preserving_keys(np.float32([-0.0])) == order_preserving_keys(np.float32([0.0]))
