"""Synthetic anomalies: they change what they say they change, and the mask says where."""

import numpy as np
import pytest

from cavga.benchmark.textures import DEFECT_TYPES
from cavga.synthetic import controlled
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, SIZES, synthesise_controlled_anomaly
from tests.conftest import texture


def photograph(*, colour=False, size=160):
    """Flat stones of 5 px on a smooth ground: there is something to bend everywhere."""
    stones = np.random.default_rng(7).integers(-60, 61, (size // 5, size // 5)).repeat(5, axis=0).repeat(5, axis=1)
    channels = [texture(seed, size=size) + stones for seed in ((1, 2, 3) if colour else (1, 1, 1))]
    return np.stack(channels, axis=-1).astype(np.uint8)


def made(anomaly_type, *, size=0.25, contrast=4.0, seed=0, picture=None):
    picture = photograph() if picture is None else picture
    return synthesise_controlled_anomaly(
        picture, anomaly_type, size=size, contrast=contrast, rng=np.random.default_rng(seed)
    )


def test_no_kind_is_one_of_the_demos():
    assert not set(CONTROLLED_NAMES) & set(DEFECT_TYPES)


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_the_mask_is_where_the_picture_changed(anomaly_type, size, contrast):
    before = photograph()
    result = made(anomaly_type, size=size, contrast=contrast)
    if result is None:
        assert (size, contrast) in {(0.03, 1.0), (0.03, 2.0), (0.03, 4.0), (0.06, 1.0)}  # too little to see
        return
    after, mask = result
    change = np.abs(after.astype(int) - before).max(axis=2)
    assert change[mask].mean() >= controlled.MIN_CHANGE / 2
    assert change[mask].mean() > 4 * change[~mask].mean()
    rows, columns = np.nonzero(mask)
    reach = max(np.ptp(rows), np.ptp(columns)) + 1
    assert reach <= 1.8 * max(size * 160, 2 * controlled.MIN_RADIUS) + 8
    assert np.array_equal(after[change == 0], before[change == 0])
    assert change.any(axis=0).sum() < 160  # most of the photograph is left alone


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_one_seed_is_one_picture_and_another_is_another(anomaly_type):
    first, again, other = (made(anomaly_type, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_the_photograph_itself_is_not_touched(anomaly_type):
    picture = photograph()
    made(anomaly_type, picture=picture)
    assert np.array_equal(picture, photograph())


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_more_contrast_changes_more(anomaly_type):
    changes = []
    for contrast in (1.0, 4.0):
        results = [made(anomaly_type, contrast=contrast, seed=seed) for seed in range(8)]
        changes.append(np.mean([np.abs(after.astype(int) - photograph()).sum() for after, _ in results]))
    # turned by a little, a small stone lies as wrong as turned by much
    assert changes[1] > (1.0 if anomaly_type == "turned" else 1.3) * changes[0]


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_a_larger_size_changes_a_larger_area(anomaly_type):
    areas = [np.mean([made(anomaly_type, size=size, seed=seed)[1].sum() for seed in range(8)]) for size in (0.12, 0.25)]
    assert areas[1] > 2 * areas[0]


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_grey_stays_grey(anomaly_type):
    after, _ = made(anomaly_type)
    assert (after == after[..., :1]).all()


def test_a_cast_on_a_colour_photograph_has_a_colour():
    before = photograph(colour=True)
    after, mask = made("cast", picture=before)
    shift = (after.astype(float) - before)[mask].mean(axis=0)
    assert np.ptp(shift) > 5


@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_nothing_can_be_made_of_nothing(anomaly_type):
    assert made(anomaly_type, picture=np.full((64, 64, 3), 128, np.uint8)) is None
    assert made(anomaly_type, picture=photograph()[:4, :4]) is None


def test_noise_that_only_moved_is_no_anomaly():
    noise = np.random.default_rng(0).normal(128, 6, (160, 160, 1)).repeat(3, axis=2)
    assert made("turned", picture=np.clip(noise, 0, 255).astype(np.uint8)) is None


@pytest.mark.parametrize("shape", [(8, 8), (9, 200), (300, 20)])
@pytest.mark.parametrize("anomaly_type", CONTROLLED_NAMES)
def test_small_and_oblong_photographs(anomaly_type, shape):
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = made(anomaly_type, picture=picture)
    if result is not None:
        assert result[0].shape == picture.shape
        assert result[1].shape == shape


def test_anomalies_come_on_the_part_rather_than_on_what_it_lies_on():
    picture = np.full((200, 200, 3), 200, np.uint8)
    picture[80:120, 80:120] = photograph()[:40, :40]
    centres = [np.argwhere(made("glints", size=0.06, picture=picture, seed=seed)[1]).mean(axis=0) for seed in range(20)]
    on_part = [(centre >= 70).all() and (centre <= 130).all() for centre in centres]
    assert np.mean(on_part) > 0.8
