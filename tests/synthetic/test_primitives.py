"""What synthetic anomalies are drawn with."""

import numpy as np
import pytest

from cavga.synthetic import primitives


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(height=24, width=17):
    return np.add.outer(np.arange(height), 3 * np.arange(width)).astype(np.float32)[..., None]


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_seamless_paste_of_the_place_itself_changes_nothing(is_mixed):
    target = rng().uniform(0, 255, (20, 31, 3)).astype(np.float32)
    blended = primitives.poisson_blend(target, target + 50, is_mixed=is_mixed)
    np.testing.assert_allclose(blended, target, atol=0.01)


def test_a_seamless_paste_keeps_the_rim_of_the_place_and_the_gradients_of_the_patch():
    patch = np.zeros((24, 17, 1), np.float32)
    patch[10:14, 6:10] = 40
    blended = primitives.poisson_blend(ramp(), patch, is_mixed=False)
    inside = np.ones((24, 17), bool)
    inside[1:-1, 1:-1] = False
    assert np.array_equal(blended[inside], ramp()[inside])
    np.testing.assert_allclose((blended - ramp())[..., 0], patch[..., 0], atol=0.01)  # a ramp has no curvature


def test_the_stronger_gradient_wins_where_both_are_mixed():
    target = ramp() + 100 * (np.arange(17) > 8)[None, :, None].astype(np.float32)
    flat = np.zeros_like(target)
    assert np.abs(primitives.poisson_blend(target, flat, is_mixed=True) - target).max() < 0.01
    assert np.abs(primitives.poisson_blend(target, flat, is_mixed=False) - target).max() > 5


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (40, 25), (256, 128)])
@pytest.mark.parametrize("cells", [(1, 1), (2, 8), (32, 1)])
def test_perlin_noise_is_smooth_and_about_zero(shape, cells):
    noise = primitives.perlin(shape, cells, rng())
    assert (noise.shape, noise.dtype) == (shape, np.float32)
    assert np.abs(noise).max() < 1.3
    if shape == (256, 128):
        assert np.abs(np.diff(noise, axis=0)).max() < 4.5 * cells[0] / 256


@pytest.mark.parametrize(
    "draw", [primitives.spectral_noise, primitives.stripes, primitives.checker, primitives.dead_leaves]
)
def test_textures_vary_and_fit(draw):
    for seed in range(8):
        texture = draw((33, 20), rng(seed))
        assert (texture.shape, texture.dtype) == ((33, 20), np.float32)
        assert texture.std() > 0
    assert draw((1, 1), rng()).shape == (1, 1)


def test_shuffling_keeps_every_pixel():
    pixels = np.arange(60 * 45, dtype=np.float32).reshape(60, 45, 1)
    mixed = primitives.shuffled(pixels, rng())
    assert not np.array_equal(mixed, pixels)
    assert np.array_equal(np.sort(mixed.ravel()), pixels.ravel())


@pytest.mark.parametrize("feather", [0.0, 8.0])
@pytest.mark.parametrize("area", [0.1, 0.4])
def test_an_outline_has_the_area_asked_for_and_an_edge_that_wide(area, feather):
    field = -np.hypot(*np.mgrid[-60:60, -80:80]).astype(np.float32)
    opacity = primitives.cut_to_area(field, area, feather)
    assert opacity.mean() == pytest.approx(area, abs=0.02)
    edge = (opacity[60] > 0.01) & (opacity[60] < 0.99)
    assert edge.sum() / 2 == pytest.approx(max(feather, 1), abs=1)


def test_half_planes_bands_corners_and_boxes_hold_their_place():
    for seed in range(30):
        field = primitives.polygon_field((50, 70), (20, 30), rng(seed))
        assert field[20, 30] > -4


def test_a_stroke_is_as_wide_as_it_says_and_presses_as_hard():
    points = np.array([[10.0, 5.0], [10.0, 35.0]])
    line = primitives.stroke((20, 40), points, np.array([0.5, 0.5]), 3.0)
    assert line[:, 20].sum() == pytest.approx(1.5, abs=0.4)
    assert line.max() == pytest.approx(0.5, abs=0.01)
    assert line[:, :4].sum() == 0
    assert primitives.stroke((20, 40), points + 100, np.ones(2), 3.0).sum() == 0
