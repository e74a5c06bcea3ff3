import numpy as np
import pytest
from PIL import Image

from cavga.config.schema import DataConfig
from cavga.data.catalog import load_catalog
from cavga.data.visibility import smallest_visible_defect, visibility_of
from cavga.errors import DataError
from tests.conftest import run_command, save_image


def grey(size, seed):
    small = np.random.default_rng(seed).integers(60, 200, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1]))


def write_set(root, *, size=(512, 512), defects=(64,) * 10, train_size=None):
    """Good photographs, and one photograph a defect with the mask of a square of that side."""
    for i in range(3):
        save_image(root / f"train/good/{i}.png", grey(train_size or size, i))
    for i, side in enumerate(defects):
        mask = np.zeros(size, np.uint8)
        mask[8 : 8 + side, 8 : 8 + side] = 255
        save_image(root / f"test/square/{i}.png", np.full(size, 100 + i, np.uint8))
        save_image(root / f"ground_truth/square/{i}_mask.png", mask)
    return root


def seen(root, **data):
    visible = visibility_of(load_catalog(root), DataConfig(**data))
    assert visible is not None
    return visible


def test_smallest_visible_defect_by_hand():
    # 1024 px shown as 256: a cell of 8 px covers 32; with a wide photo the longer side counts
    assert smallest_visible_defect([(1024, 1024)], (256, 256), 8) == 32.0
    assert smallest_visible_defect([(512, 1024)], (256, 256), 8) == 32.0
    assert smallest_visible_defect([(256, 256), (512, 512), (1024, 1024)], (256, 256), 4) == 8.0
    with pytest.raises(DataError, match="no image sizes"):
        smallest_visible_defect([], (256, 256), 8)


def test_masks_as_large_as_a_patch_need_no_advice(tmp_path):
    visible = seen(write_set(tmp_path))
    assert (visible.input_size, visible.smallest_defect) == (
        (384, 384),
        pytest.approx(10.67, abs=0.01),
    )  # 512 px shown as 384
    assert (visible.num_masked, visible.num_smaller, visible.advice) == (10, 0, None)


def test_a_larger_input_is_advised_where_masks_are_smaller_than_a_patch(tmp_path):
    visible = seen(write_set(tmp_path, defects=(8,) * 4 + (64,) * 6))
    assert (visible.num_masked, visible.num_smaller) == (10, 4)
    assert visible.advice == "--image-size 512x512 (1.8 times the work)"  # 8 px of 512 are then a patch
    assert seen(tmp_path, image_size=(512, 512)).advice is None
    assert any("4 of 10 photographs with a mask" in line for line in visible.lines())


def test_tiles_are_advised_where_no_input_is_large_enough(tmp_path):
    write_set(tmp_path, size=(2048, 2048), defects=(8, 8, 400))
    visible = seen(tmp_path)
    assert visible.smallest_defect == pytest.approx(42.67, abs=0.01)
    assert visible.advice == "--tile 384"
    assert seen(tmp_path, tile=384).advice is None
    write_set(tmp_path / "smaller", size=(2048, 2048), defects=(6, 6, 400))
    assert seen(tmp_path / "smaller").advice == "--tile 192"  # which is enlarged to 256
    assert seen(tmp_path / "smaller", tile=192).advice is None


def test_one_small_defect_among_many_is_counted_and_settles_nothing(tmp_path):
    visible = seen(write_set(tmp_path, defects=(4,) + (64,) * 20))
    assert (visible.num_smaller, visible.advice) == (1, None)


def test_the_size_follows_from_the_good_photographs_to_train_on(tmp_path):
    visible = seen(write_set(tmp_path, size=(256, 256), train_size=(100, 250)))
    assert visible.input_size == (160, 416)
    assert visible.mixed is None  # among those that settle the size there is but one shape


def test_without_a_photograph_that_can_be_read_there_is_nothing_to_say(tmp_path):
    write_set(tmp_path)
    for path in [*tmp_path.glob("train/good/*"), *tmp_path.glob("test/square/*")]:
        path.write_bytes(b"no photograph")
    assert visibility_of(load_catalog(tmp_path), DataConfig()) is None


def test_check_says_size_visibility_and_mixed_shapes(tmp_path, capsys):
    write_set(tmp_path / "data", size=(512, 512), defects=(8,) * 4)
    for i in range(2):
        save_image(tmp_path / f"data/train/good/long-{i}.png", grey((128, 512), 10 + i))
    code, out, _ = run_command(capsys, "check", tmp_path / "data")
    assert code == 0
    assert "input: 384 x 384 pixels" in out
    assert "4 of 4 photographs with a mask have no larger defect than that: try --image-size 512x512" in out
    (mixed,) = [line for line in out.splitlines() if "mixed shapes" in line]
    assert "2 of 5 are more than 25% off the median, 1," in mixed
    assert "--tile N" in mixed


def test_check_refuses_a_size_that_training_would(tmp_path, capsys):
    code, _, err = run_command(capsys, "check", write_set(tmp_path / "data"), "--image-size", "100")
    assert code == 2
    assert "multiple of 32" in err
