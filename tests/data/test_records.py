from pathlib import Path

import pytest

from cavga.data.records import ANOMALOUS, ImageRecord, draw_anomalous, hold_out
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


def records(*groups):
    return [ImageRecord(Path(f"/{i}.png"), f"{i}.png", 0, "train", group=g) for i, g in enumerate(groups)]


def test_hold_out_takes_the_fraction_keeps_the_order_and_repeats():
    everything = records(*[None] * 50)
    train, calibration = hold_out(everything, fraction=0.2, seed=3)
    assert (len(train), len(calibration)) == (40, 10)
    assert sorted([*train, *calibration], key=everything.index) == everything
    assert list(train) == sorted(train, key=everything.index)
    assert list(calibration) == sorted(calibration, key=everything.index)
    assert hold_out(everything, fraction=0.2, seed=3) == (train, calibration)
    assert hold_out(everything, fraction=0.2, seed=4) != (train, calibration)


@pytest.mark.parametrize("seed", range(20))
def test_hold_out_never_cuts_a_group(seed):
    everything = records(*[f"clip {i // 7}" for i in range(35)], *[None] * 5)
    train, calibration = hold_out(everything, fraction=0.25, seed=seed)
    assert not {r.group for r in train if r.group} & {r.group for r in calibration if r.group}
    assert 1 <= len(calibration) <= 10
    assert len(train) + len(calibration) == 40


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("groups", [(None, None), ("a", "a", "b"), ("a", None, None)])
def test_hold_out_leaves_something_on_each_side(fraction, groups):
    train, calibration = hold_out(records(*groups), fraction=fraction, seed=0)
    assert train
    assert calibration


@pytest.mark.parametrize("groups", [(), (None,), ("a", "a", "a")])
def test_hold_out_of_one_unit_trains_on_it(groups):
    everything = records(*groups)
    assert hold_out(everything, fraction=0.5, seed=0) == (tuple(everything), ())


def test_a_group_named_like_a_number_is_not_an_image():
    train, calibration = hold_out(records("1", None, "1"), fraction=0.4, seed=0)
    assert {r.relative_path for r in calibration} in ({"1.png"}, {"0.png", "2.png"})
    assert len(train) + len(calibration) == 3


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_hold_out_refuses_impossible_fractions(fraction):
    with pytest.raises(UsageError, match="expected a number between 0 and 1"):
        hold_out(records(None, None), fraction=fraction, seed=0)
