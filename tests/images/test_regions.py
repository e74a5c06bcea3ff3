"""Regions against scipy's and scikit-image's, their outlines filled again, and their places on the photograph."""

import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import grid_points_in_poly, regionprops

from cavga.errors import UsageError
from cavga.images.regions import MAX_REGIONS, count_regions, find_regions

EIGHT = np.ones((3, 3))


def mask_of(*rows):
    return np.array([[mark == "#" for mark in row] for row in rows])


def noise(seed, density, shape=(40, 56)):
    return np.random.default_rng(seed).random(shape) < density


def blobs(seed, shape=(40, 56)):
    """Smooth regions, as maps have them: some with holes."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return field > np.quantile(field, 0.6)


def ramp(mask):
    """Another value in every pixel, so that each region has a score of its own."""
    return np.arange(mask.size, dtype=np.float32).reshape(mask.shape)


def regions_of(mask):
    return find_regions(mask, ramp(mask), mask.shape)


def filled(polygon, shape):
    """The pixels whose middle lies inside: even-odd."""
    corners = [(y - 0.5, x - 0.5) for x, y in polygon]
    return grid_points_in_poly(shape, corners)


def signed_area(polygon):
    x, y = np.array(polygon, dtype=float).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


MASKS = [
    *[noise(seed, density) for seed, density in enumerate((0.01, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9))],
    *[blobs(seed) for seed in range(4)],
    np.ones((7, 5), dtype=bool),
    np.indices((12, 12)).sum(axis=0) % 2 == 0,
    mask_of("#"),
    mask_of("#.#", "#.#", "###"),
]


@pytest.mark.parametrize("mask", MASKS)
def test_regions_are_those_of_scipy_with_their_area_box_and_highest_value(mask):
    labels, count = ndimage.label(mask, EIGHT)
    properties = sorted(regionprops(labels, ramp(mask)), key=lambda one: -one.intensity_max)
    regions = regions_of(mask)
    assert count_regions(mask) == count
    assert len(regions) == min(count, MAX_REGIONS)
    for region, expected in zip(regions, properties, strict=False):
        top, left, bottom, right = expected.bbox
        assert region.box == (left, top, right - left, bottom - top)
        assert region.area == expected.area
        assert region.score == expected.intensity_max


@pytest.mark.parametrize("mask", MASKS)
def test_a_filled_outline_is_the_region_without_its_holes(mask):
    labels, _ = ndimage.label(mask, EIGHT)
    for region in regions_of(mask):
        y, x = divmod(int(region.score), mask.shape[1])
        expected = ndimage.binary_fill_holes(labels == labels[y, x])
        np.testing.assert_array_equal(filled(region.polygon, mask.shape), expected)
        assert signed_area(region.polygon) == expected.sum()  # positive: clockwise, y down; nothing counts twice


def test_an_outline_has_corners_only_and_is_not_closed_again():
    (region,) = regions_of(mask_of("....", ".##.", ".##."))
    assert region.polygon == ((1, 1), (3, 1), (3, 3), (1, 3))


def test_where_a_region_touches_itself_the_outline_goes_through_the_corner_twice():
    (region,) = regions_of(mask_of("#.", ".#"))
    assert sorted(region.polygon) == sorted([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (1, 2), (1, 1), (0, 1)])
    # A ring that closes at a corner: what it encloses is a hole, and a hole is filled.
    (ring,) = regions_of(mask_of(".##", "#.#", "###"))
    assert signed_area(ring.polygon) == 8
    assert ring.area == 7


def test_a_region_in_a_hole_is_one_of_its_own():
    mask = mask_of("#####", "#...#", "#.#.#", "#...#", "#####")
    assert sorted(region.area for region in regions_of(mask)) == [1, 16]


def test_no_region():
    assert regions_of(np.zeros((4, 4), dtype=bool)) == []
    assert count_regions(np.zeros((4, 4), dtype=bool)) == 0


def test_places_are_the_photographs():
    mask = np.zeros((4, 8), dtype=bool)
    mask[1:3, 2:5] = True
    (region,) = find_regions(mask, ramp(mask), (40, 160))
    assert region.box == (40, 10, 60, 20)
    assert region.polygon == ((40, 10), (100, 10), (100, 30), (40, 30))
    assert region.area == 60 * 20
    assert {type(value) for value in (*region.box, *region.polygon[0])} == {int}
    (region,) = find_regions(mask, ramp(mask), (41, 101))  # 1/4 of 41 is 10.25, 3/4 30.75; 2/8 of 101 25.25, 5/8 63.1
    assert region.polygon == ((25, 10), (63, 10), (63, 31), (25, 31))
    assert region.area == pytest.approx(6 * 41 * 101 / 32)
    whole = np.ones((4, 8), dtype=bool)
    assert find_regions(whole, ramp(whole), (333, 777))[0].box == (0, 0, 777, 333)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(7, 9), (16, 200), (3, 2), (1, 1)])
def test_on_a_smaller_photograph_every_region_keeps_an_outline_inside_it(seed, size):
    mask = noise(seed, 0.1)
    regions = find_regions(mask, ramp(mask), size)
    assert len(regions) == min(count_regions(mask), MAX_REGIONS)
    for region in regions:
        x, y, width, height = region.box
        assert min(x, y) >= 0
        assert min(width, height) >= 1
        assert (x + width <= size[1], y + height <= size[0]) == (True, True)
        assert len(region.polygon) >= 3
        assert abs(signed_area(region.polygon)) > 0
        pairs = zip(region.polygon, region.polygon[1:] + region.polygon[:1], strict=True)
        assert all(corner != following for corner, following in pairs)


def test_the_largest_score_comes_first_and_no_more_than_the_limit():
    mask = (np.indices((60, 60)) % 2 == 0).all(axis=0)
    regions = regions_of(mask)
    assert count_regions(mask) == 900
    assert len(regions) == MAX_REGIONS
    assert [region.score for region in regions] == sorted(ramp(mask)[mask].tolist(), reverse=True)[:MAX_REGIONS]


def test_equal_scores_stand_in_reading_order():
    mask = mask_of("#.#", "...", "#.#")
    regions = find_regions(mask, np.ones((3, 3), dtype=np.float32), (3, 3))
    assert [region.box[:2] for region in regions] == [(0, 0), (2, 0), (0, 2), (2, 2)]


def test_a_map_of_another_size_is_refused():
    with pytest.raises(UsageError, match=r"one size, got \(3, 3\) and \(4, 4\)"):
        find_regions(np.ones((3, 3), dtype=bool), np.ones((4, 4), dtype=np.float32), (3, 3))


def test_thousands_of_specks_are_quick():
    mask = noise(0, 0.1, (256, 256))
    assert count_regions(mask) > 4000
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        find_regions(mask, ramp(mask), (1024, 1024))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1  # 4 ms where nothing else runs
