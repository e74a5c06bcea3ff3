from collections import Counter

import numpy as np
import pytest

from cavga.benchmark import textures
from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog, count_images
from cavga.images.decode import read_image
from cavga.images.masks import read_mask

pytest.importorskip("skimage")

CONTENT_HASH = "a8015be4c3a614c1b7a70999e0d3f9bdc28b643f01169e59acf9b81fc4a9ce56"
COLUMNS = {"train": (0, 256), "validation": (256, 384), "test": (384, 512)}


@pytest.fixture(scope="module")
def images():
    return {texture: list(textures.texture_images(texture)) for texture in textures.TEXTURES}


def photograph(texture):
    from skimage import data

    return getattr(data, texture)()


def cut_below(texture, image):
    """The untouched cut that a made defect was put into: its height is the first thing drawn."""
    _, anomaly_type, name = image.path.split("/")
    key = [textures.TEXTURES.index(texture), textures.DEFECT_TYPES.index(anomaly_type), int(name[:3])]
    top = int(np.random.default_rng(key).integers(0, 512 - textures.CUT + 1))
    return photograph(texture)[top : top + textures.CUT, 384:].astype(float)


def test_content_is_frozen():
    assert textures.content_hash() == CONTENT_HASH, "figures would no longer compare: a change needs a decision record"


@pytest.mark.parametrize("texture", textures.TEXTURES)
def test_counts(images, texture):
    folders = Counter(image.path.rpartition("/")[0] for image in images[texture])
    assert folders == {
        "train/good": 65,
        "validation/good": 25,
        "test/good": 25,
        **{f"test/{anomaly_type}": 10 for anomaly_type in textures.DEFECT_TYPES},
    }
    assert len({image.path for image in images[texture]}) == len(images[texture])


@pytest.mark.parametrize("texture", textures.TEXTURES)
def test_good_cuts_lie_in_disjoint_bands(images, texture):
    photo = photograph(texture)
    corners = [(y, x) for y in range(0, 385, 16) for x in range(0, 385, 16)]
    column = {photo[y : y + 128, x : x + 128].tobytes(): x for y, x in corners}
    for image in images[texture]:
        if image.mask is None:
            first, last = COLUMNS[image.path.split("/")[0]]
            assert first <= column[image.pixels.tobytes()] <= last - 128


@pytest.mark.parametrize("texture", textures.TEXTURES)
def test_defects_are_small_marked_and_neither_invisible_nor_glaring(images, texture):
    deviation = photograph(texture).std()
    for image in images[texture]:
        if image.mask is None:
            continue
        inside, cut = image.mask == 255, cut_below(texture, image)
        assert set(np.unique(image.mask)) == {0, 255}
        assert textures.AREA_RANGE[0] <= inside.mean() <= textures.AREA_RANGE[1], image.path
        change = (image.pixels - cut)[inside]
        assert abs(change.mean()) <= 1.5 * deviation, image.path
        assert np.sqrt((change**2).mean()) >= textures.MIN_CHANGE * deviation, image.path
        assert (image.pixels == cut)[~inside].mean() > 0.95, image.path  # only a soft edge lies outside


def test_written_demo_is_an_mvtec_set_with_nothing_wrong(images, tmp_path):
    folders = textures.write_textures(tmp_path)
    assert list(folders) == list(textures.TEXTURES)
    for texture, folder in folders.items():
        catalog = load_catalog(folder)
        assert (catalog.layout, catalog.category) == ("mvtec", texture)
        assert len(catalog.split("calibration")) == 25
        assert count_images(catalog) == {
            "train_normal": 65,
            "train_anomalous": 0,
            "calibration_normal": 25,
            "test_normal": 25,
            "test_anomalous": 40,
            "test_unknown": 0,
            "with_mask": 40,
        }
        assert check_catalog(catalog) == []
        written = {record.relative_path: record for record in catalog.records}
        image = images[texture][-1]
        record = written[image.path]
        np.testing.assert_array_equal(read_image(record.path)[..., 0], image.pixels)
        np.testing.assert_array_equal(read_mask(record.mask_paths), image.mask == 255)
