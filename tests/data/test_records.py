from pathlib import Path

import pytest

from cavga.data.records import ANOMALOUS, ImageRecord, draw_anomalous
from cavga.errors import UsageError


def bad(*groups):
    """Anomalous test records, 000.png and so on, each with its group."""
    paths = [f"test/cut/{i:03d}.png" for i in range(len(groups))]
    return [
        ImageRecord(Path("/data") / path, path, ANOMALOUS, "test", group=group)
        for path, group in zip(paths, groups, strict=True)
    ]


@pytest.mark.parametrize(("num_images", "num_drawn"), [(0, 0), (1, 1), (20, 1), (100, 2), (388, 8)])
def test_2_percent_are_drawn_and_at_least_one(num_images, num_drawn):
    drawn = draw_anomalous(bad(*[None] * num_images), fraction=0.02, seed=0)
    assert len(set(drawn)) == len(drawn) == num_drawn


def test_the_draw_repeats_by_seed_and_does_not_depend_on_the_order_of_the_records():
    everything = bad(*[None] * 100)
    drawn = draw_anomalous(everything, fraction=0.1, seed=3)
    assert draw_anomalous(everything, fraction=0.1, seed=3) == drawn
    assert draw_anomalous(everything[::-1], fraction=0.1, seed=3) == drawn
    assert draw_anomalous(everything, fraction=0.1, seed=4) != drawn
    assert list(drawn) == sorted(drawn, key=lambda record: record.relative_path)


@pytest.mark.parametrize("seed", range(20))
def test_the_draw_never_cuts_a_group(seed):
    everything = bad(*[f"clip {i // 4}" for i in range(40)], *[None] * 5)
    drawn = draw_anomalous(everything, fraction=0.2, seed=seed)
    for group in {record.group for record in drawn if record.group}:
        assert sum(record.group == group for record in drawn) == 4
    assert 9 <= len(drawn) <= 12  # no further group once there are enough


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(UsageError, match="expected a number between 0 and 1"):
        draw_anomalous(bad(None), fraction=fraction, seed=0)
