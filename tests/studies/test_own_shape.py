import numpy as np

from studies.own_shape import padded
from studies.own_shape_maps import changed


def test_a_letterboxed_photograph_lies_in_the_middle_of_the_smallest_frame():
    photograph = np.full((10, 40, 3), 200, np.uint8)
    frame = padded(photograph, (288, 224), np.array([1.0, 2.0, 3.4]))
    assert frame.shape == (51, 40, 3)
    assert (frame[20:30] == 200).all()
    assert (np.delete(frame, np.s_[20:30], axis=0) == (1, 2, 3)).all()
    assert padded(photograph, (10, 40), np.zeros(3)).shape == photograph.shape


def test_what_is_taken_out_of_the_maps():
    rng = np.random.default_rng(0)
    maps, masks = rng.random((6, 8, 9)).astype(np.float32), np.zeros((6, 8, 9), np.bool_)
    masks[3, :4, :4] = masks[4, :2, :2] = True
    found = {name: (values, truth) for name, values, truth in changed(maps, masks, np.array([0, 0, 0, 1, 1, 1], bool))}
    assert found["without 2 patches at the border"][0].shape == (6, 4, 5)
    assert np.allclose(found["each photograph less its mean"][0].mean(axis=(1, 2)), 0, atol=1e-6)
    assert found["good ones, and masks below 10% of the photograph"][1].sum() == 4
    assert found["good ones, and masks of 10% and more"][1].sum() == 16
