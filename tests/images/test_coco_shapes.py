import numpy as np
import pytest

from cavga.images.coco_shapes import polygon_mask, run_length_mask, shape_mask

SIZE = (4, 5)
MARKED = np.zeros(SIZE, dtype=bool)
MARKED[1:3, 1:4] = MARKED[0, 4] = True
COMPRESSED = "522000OO2"  # of MARKED, by pycocotools 2.0.11
BLOCK_COMPRESSED = (
    "dj2d0\\200000000000000000000000000000000000000AiM5W2KiM5W2KiM5W2KiM5W2KiM5W2KiM5W2KiM5W2KiM"
    "5W2KiM5W2KiM5W2:0000000000000000000000000000000000000000000000000000000000\\a3"
)
COUNTS = [5, 2, 2, 2, 2, 2, 1, 1, 3]


def test_run_lengths_go_down_the_columns_plain_and_compressed():
    assert (run_length_mask(COUNTS, SIZE) == MARKED).all()
    assert (run_length_mask(COMPRESSED, SIZE) == MARKED).all()
    assert not run_length_mask([20], SIZE).any()
    assert run_length_mask([0, 20], SIZE).all()


def test_long_run_lengths_and_differences_below_zero():
    block = np.zeros((96, 128), dtype=bool)
    block[20:40, 30:90] = True
    block[25:30, 50:60] = False
    assert (run_length_mask(BLOCK_COMPRESSED, (96, 128)) == block).all()


def test_a_polygon_is_the_pixels_whose_centres_it_holds():
    corners = [[1, 1, 4, 1, 4, 3, 1, 3], [4, 0, 5, 0, 5, 1, 4, 1]]
    assert (shape_mask(corners, SIZE) == MARKED).all()
    triangle = polygon_mask([0, 0, 4, 0, 0, 4], SIZE)
    assert triangle.sum(axis=1).tolist() == [3, 2, 1, 0]
    assert polygon_mask([-9, -9, 99, -9, 99, 99, -9, 99], SIZE).all()  # cut at the picture's edge
    assert not polygon_mask([10, 10, 12, 10, 12, 12], SIZE).any()
    assert not polygon_mask([-3, 0, -1, 0, -1, 2], SIZE).any()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([[0, 0, 1, 1]], "a polygon of 4 numbers; expected x and y of at least three corners"),
        ([[0, 0, 1, 1, 2]], "a polygon of 5 numbers"),
        ([[0, 0, float("nan"), 1, 2, 2]], "a corner that is no place"),
        ([[0, 0, 10**400, 1, 2, 2]], "a corner that is no place"),
        ([0, 0, 1, 1, 2, 2], "no list of numbers"),
        ([["0", 0, 1, 1, 2, 2]], "no list of numbers"),
        ({"counts": COUNTS, "size": [5, 4]}, r"size \[5, 4\]; expected \[4, 5\]"),
        ({"counts": COUNTS}, "size None"),
        ({"size": [4, 5]}, "neither text nor whole numbers"),
        ({"counts": [1.5, 18.5], "size": [4, 5]}, "neither text nor whole numbers"),
        ({"counts": [5, 2], "size": [4, 5]}, "do not cover 5 x 4 pixels"),
        ({"counts": [-5, 25], "size": [4, 5]}, "do not cover"),
        ({"counts": [], "size": [4, 5]}, "do not cover"),
        ({"counts": "", "size": [4, 5]}, "do not cover"),
        ({"counts": "5220 0", "size": [4, 5]}, "cannot be read"),
        ({"counts": "ooooooooooooo", "size": [4, 5]}, "cannot be read"),
        ({"counts": "52o", "size": [4, 5]}, "end too early"),
    ],
)
def test_broken_shapes_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        shape_mask(shape, SIZE)
