import tracemalloc

import numpy as np
import pytest

from cavga.config.presets import make_config
from cavga.data.dataset import TrainingImages
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.images.resize import resized
from cavga.images.roi import GREY, Roi, load_roi
from cavga.images.tiling import Tiling, stitch_results, tiling_of
from cavga.inference.detector import AnomalyDetector
from cavga.inference.engine import EngineOutput
from cavga.inference.prepare import FailedImage
from cavga.training.fit_guided_head import choose_left_out
from tests.conftest import save_image

TILE = 32


class Brightness:
    """An engine whose map is the first channel of what it sees, and whose score is the highest of it."""

    def __init__(self, image_size=(TILE, TILE), threshold=200.0):
        self.image_size = image_size
        self.image_threshold = self.pixel_threshold = threshold
        self.batches = []

    def resize(self, photograph):
        return resized(photograph, self.image_size)

    def score(self, photographs):
        self.batches.append(len(photographs))
        maps = np.stack(photographs)[..., 0].astype(np.float32)
        return EngineOutput(maps.max(axis=(1, 2)), maps, maps >= self.pixel_threshold)


def detector_of(tiling, **settings):
    return AnomalyDetector(Brightness(tiling.image_size, **settings), {}, tiling)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def drawn(height, width, rows, columns):
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[rows, columns] = True
    return mask


# --- tiles ---


@pytest.mark.parametrize("size", [(100, 130), (32, 32), (33, 200), (57, 56), (20, 90), (7, 9)])
def test_the_tiles_cover_every_pixel_and_blend_into_what_they_were_cut_from(size):
    photograph = noise(*size)
    tiling = Tiling((TILE, TILE), tile=TILE)
    tiles = list(tiling.tiles(photograph))
    assert len(tiles) == tiling.num_tiles(size)
    assert {tile.shape[:2] for tile in tiles} == {(min(TILE, size[0]), min(TILE, size[1]))}
    stitch = tiling.layout(size).stitch(tile[..., 0].astype(np.float32) for tile in tiles)
    np.testing.assert_allclose(stitch, photograph[..., 0], atol=1e-3)


def test_neighbours_overlap_by_a_quarter_and_the_last_is_shifted_inwards():
    axis = Tiling((TILE, TILE), tile=TILE).layout((TILE, 100)).columns
    assert axis.starts == (0, 24, 48, 68)
    assert Tiling((TILE, TILE), tile=TILE).layout((TILE, 32 + 24)).columns.starts == (0, 24)


def test_a_tiles_weight_falls_linearly_over_the_overlap():
    weights = Tiling((TILE, TILE), tile=TILE).layout((TILE, 32 + 24)).columns.weights
    np.testing.assert_allclose(weights[0, :24], 1)
    np.testing.assert_allclose(np.diff(weights[0, 24:]), -1 / 8, atol=1e-6)
    np.testing.assert_allclose(weights[0, 24:] + weights[1, :8], 1)


@pytest.mark.parametrize(
    ("tile", "image_size", "expected"), [(64, 32, (50, 65)), (48, 32, (67, 87)), (16, 32, (100, 130))]
)
def test_a_map_has_as_many_pixels_as_in_a_tile_and_never_more_than_the_photograph(tile, image_size, expected):
    (result,) = detector_of(Tiling((image_size, image_size), tile=tile)).predict(np.full((100, 130, 3), 90, np.uint8))
    assert result.anomaly_map.shape == result.mask.shape == expected
    assert result.image_size == (100, 130)
    np.testing.assert_allclose(result.anomaly_map, 90, atol=1e-3)


def test_a_photograph_is_as_anomalous_as_its_worst_tile():
    photograph = noise(100, 130)
    photograph[70:74, 90:94] = 255
    (result,) = detector_of(Tiling((TILE, TILE), tile=TILE)).predict(photograph)
    assert (result.score, result.is_anomalous) == (255, True)
    assert (result.mask == (photograph[..., 0] == 255)).all()


def test_tiles_are_scored_a_batch_at_a_time_and_results_stay_in_order(tmp_path):
    detector = detector_of(Tiling((TILE, TILE), tile=TILE))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    small = noise(20, 20)
    first, failed, last = detector.results([noise(200, 300), tmp_path / "bad.png", small])
    assert isinstance(failed, FailedImage)
    assert (first.image_size, last.image_size) == ((200, 300), (20, 20))
    assert max(detector.engine.batches) == 16
    assert last.score == resized(small, (TILE, TILE))[..., 0].max()


def test_a_large_photograph_takes_the_memory_of_its_map_its_pixels_and_a_few_batches():
    photograph = np.full((4096, 4096, 3), 100, dtype=np.uint8)
    detector = detector_of(Tiling((256, 256), tile=512))
    tracemalloc.start()
    (result,) = detector.predict(photograph)
    _, peak = tracemalloc.get_traced_memory()  # what NumPy allocates beside the photograph
    tracemalloc.stop()
    assert result.anomaly_map.shape == (2048, 2048)
    batch = 16 * 256 * 256 * 3
    kept = result.anomaly_map.nbytes + result.mask.nbytes + photograph.nbytes  # of an array, for its overlay
    assert peak < kept + 15 * batch < 2 * photograph.nbytes + 20e6


# --- a region of interest ---


def test_a_rectangle_is_all_that_is_seen_and_its_map_lies_where_it_was():
    photograph = np.full((100, 120, 3), 250, np.uint8)
    photograph[10:74, 40:72] = 7
    photograph[20:24, 50:54] = 240
    (result,) = detector_of(Tiling((64, 32), roi=Roi(40, 10, 32, 64))).predict(photograph)
    assert result.score == 240
    assert result.anomaly_map.shape == (100, 120)
    assert (result.mask == (photograph[..., 0] == 240)).all()
    assert (result.anomaly_map[10:74, 40:72] == photograph[10:74, 40:72, 0]).all()
    assert np.delete(result.anomaly_map, slice(40, 72), axis=1).max() == 0


@pytest.mark.parametrize("tile", [None, 64])
def test_what_is_outside_a_mask_is_never_seen_and_never_marked(tile):
    mask = drawn(200, 240, slice(20, 148), slice(16, 144))
    mask[100:148, 100:144] = False
    photograph = np.where(mask[..., None], noise(200, 240) // 2, np.uint8(255))
    image_size = (128, 128) if tile is None else (64, 64)
    tiling = Tiling(image_size, tile=tile, roi=Roi(16, 20, 128, 128, mask))
    (result,) = detector_of(tiling, threshold=-1.0).predict(photograph)  # a map of 0 would reach it
    assert result.score <= GREY
    assert (result.mask == mask).all()
    assert result.anomaly_map[~mask].max() == 0
    np.testing.assert_allclose(result.anomaly_map[mask], photograph[..., 0][mask], atol=1e-3)


@pytest.mark.parametrize("tile", [None, 64])
def test_a_map_below_0_is_nowhere_higher_outside_than_inside(tile):
    """As log-odds may be: its peak sets the threshold of the mask, and 0 would be above that."""
    roi = Roi(16, 20, 128, 128, drawn(200, 240, slice(20, 148), slice(16, 144)))
    layout = Tiling((128, 128) if tile is None else (64, 64), tile=tile, roi=roi).layout((200, 240))
    side = 128 if tile is None else 64
    rng = np.random.default_rng(0)
    tiles = [rng.uniform(-5, -2, (side, side)).astype(np.float32) for _ in layout.places]
    stitch = layout.stitch(tiles)
    assert layout.inside is not None
    assert stitch.max() == stitch[layout.inside].max() < -2
    assert (stitch[~layout.inside] == stitch[layout.inside].min()).all()
    assert layout.mask(stitch, float(stitch.max())).sum() == 1


def test_tiles_without_anything_of_the_mask_are_left_out():
    mask = drawn(128, 640, slice(0, 128), slice(0, 20)) | drawn(128, 640, slice(0, 128), slice(600, 640))
    tiling = Tiling((64, 64), tile=128, roi=Roi(0, 0, 640, 128, mask))
    assert tiling.num_tiles((128, 640)) == 3  # from 0, 480 and 512 on
    assert Tiling((64, 64), tile=128).num_tiles((128, 640)) == 7


def test_a_mask_survives_a_models_description():
    mask = np.random.default_rng(0).random((37, 41)) > 0.7
    tiling = Tiling((32, 32), tile=40, roi=Roi(0, 0, 41, 37, mask))
    described = {"preprocessing": tiling.described()}
    again = tiling_of(described, (32, 32))
    assert (again.tile, again.roi is not None and (again.roi.mask == mask).all()) == (40, True)
    described["preprocessing"]["roi"]["mask"]["sha256"] = "0" * 64
    with pytest.raises(ModelFileError, match="damaged"):
        tiling_of(described, (32, 32))
    assert tiling_of({}, (32, 32)).is_plain


def test_photographs_that_do_not_fit_are_named_with_both_sizes(tmp_path):
    path = save_image(tmp_path / "narrow.png", noise(50, 60))
    rectangle = detector_of(Tiling((32, 32), roi=Roi(30, 10, 40, 20)))
    with pytest.raises(DataError, match=r"narrow\.png: the photograph is 60 x 50 px, but .* reaches to 70 x 30 px"):
        list(rectangle.predict(path))
    masked = detector_of(Tiling((32, 32), tile=32, roi=Roi(0, 0, 60, 40, np.ones((40, 60), np.bool_))))
    with pytest.raises(DataError, match=r"narrow\.png: the photograph is 60 x 50 px, but the mask .* is 60 x 40 px"):
        list(masked.predict(path))


# --- settings ---


def test_a_region_is_read_from_numbers_or_from_a_mask_image(tmp_path):
    roi = load_roi("40, 10,200,100")
    assert (roi.x, roi.y, roi.width, roi.height, roi.mask) == (40, 10, 200, 100, None)
    mask = drawn(30, 50, slice(5, 9), slice(12, 40))
    path = save_image(tmp_path / "a,b.png", mask.astype(np.uint8) * 3)  # any value above 0 counts
    roi = load_roi(str(path))
    assert roi is not None
    assert (roi.x, roi.y, roi.width, roi.height) == (12, 5, 28, 4)
    assert (roi.mask == mask).all()


@pytest.mark.parametrize("text", ["1,2,3", "1,2,0,5", "1,2,3,4,5", "-1,2,3,4", "1.5,2,3,4", "1,2,3,"])
def test_numbers_that_are_no_rectangle_are_refused(text):
    with pytest.raises(UsageError, match="expected x,y,width,height"):
        make_config("recommended", {"data": {"roi": text}})


def test_a_mask_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no such mask image: nowhere\.png"):
        load_roi("nowhere.png")
    path = save_image(tmp_path / "empty.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"empty\.png: nothing is marked"):
        load_roi(str(path))


def test_tiles_that_are_too_small_and_labels_that_tiles_do_not_have_are_refused():
    with pytest.raises(UsageError, match="tile must be at least 32"):
        make_config("recommended", {"data": {"tile": 8}})
    with pytest.raises(UsageError, match="tile does not go with variant r-w"):
        make_config("recommended", {"data": {"tile": 64}, "model": {"variant": "r-w"}})


# --- tiles of one photograph stay together ---


def test_folds_and_what_is_left_out_never_cut_a_photograph():
    photographs = np.repeat(np.arange(7), [3, 1, 4, 2, 5, 3, 2])
    images = TrainingImages(np.zeros((20, 2, 2, 3), np.uint8), 20, photographs)
    parts = images.tiles_of([[0, 3], [1, 2, 6], [4, 5]])
    assert sorted(position for part in parts for position in part) == list(range(20))
    assert [set(photographs[part]) for part in parts] == [{0, 3}, {1, 2, 6}, {4, 5}]
    is_left_out = choose_left_out(20, 0, photographs=photographs)
    assert set(photographs[is_left_out]).isdisjoint(photographs[~is_left_out])
    assert 0 < is_left_out.sum() < 20
    measured = images.tiles_of_some_photographs(most=6, seed=0)
    assert 6 <= len(measured) <= 10
    assert set(photographs[measured]).isdisjoint(np.delete(photographs, measured))
    assert len(images.tiles_of_some_photographs(most=100, seed=0)) == 20


def test_a_photographs_result_is_that_of_all_its_tiles():
    tiling = Tiling((TILE, TILE), tile=TILE)
    sizes = [(TILE, 56), (TILE, TILE)]
    ones = np.ones((TILE, TILE), np.float32)
    first, second = stitch_results(tiling, sizes, [(0.3, ones), (0.7, 3 * ones), (0.5, None)])
    assert (first[0], second) == (0.7, (0.5, None))
    assert first[1] is not None
    assert (first[1].shape, first[1][:, :24].max(), first[1][:, 32:].min()) == ((TILE, 56), 1, 3)


def test_the_mask_is_one_bit_a_pixel():
    mask = drawn(3000, 4000, slice(500, 2500), slice(700, 3000))
    png = Roi(700, 500, 2300, 2000, mask).png()
    assert png is not None
    assert len(png) < 5000
