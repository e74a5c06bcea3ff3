"""What odd photographs and masks do to whole commands: used as they are meant, and said, or a line of their own."""

import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.errors import DataError
from cavga.evaluation.evaluate import evaluate_detector
from cavga.images.roi import load_roi
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.prediction.map_files import read_map
from cavga.prediction.predict import predict_to_folder
from cavga.training.train import train
from tests.conftest import save_image, small_config, texture


def twelve_bits(root, *, shift=0):
    for i in range(8):
        values = (texture(i).astype(np.uint16) * 16) << shift
        save_image(root / f"{i}.png", values)
    return root


@pytest.fixture(scope="module")
def twelve_bit_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twelve")
    return train(twelve_bits(folder / "good"), folder / "run", small_config())


def test_a_run_on_twelve_bits_sees_what_one_on_sixteen_sees(twelve_bit_run, tmp_path):
    said = json.loads((twelve_bit_run / "model.json").read_text())["preprocessing"]
    assert (said["bit_depth"], said["bit_depths_in_use"]) == (12, [12])
    detector = AnomalyDetector.load(twelve_bit_run)  # the exported graph
    assert detector.tiling.pixel_range.bit_depth == 12
    grey = texture(99)
    twelve = save_image(tmp_path / "twelve.png", grey.astype(np.uint16) * 16)
    eight = save_image(tmp_path / "eight.png", ((grey.astype(np.uint32) * 16 * 255 + 2047) // 4095).astype(np.uint8))
    first, second = detector.predict([twelve, eight])
    assert first.score == second.score
    assert first.remarks == second.remarks == ()


def test_predict_says_where_photographs_have_another_range_or_further_pages(twelve_bit_run, tmp_path, caplog):
    save_image(tmp_path / "in/a.png", texture(1).astype(np.uint16) * 256)
    pages = [Image.fromarray(texture(i)) for i in range(3)]
    pages[0].save(tmp_path / "in/p.tif", save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.WARNING, "cavga"):
        predict_to_folder(AnomalyDetector.load(twelve_bit_run), [tmp_path / "in"], tmp_path / "out")
    said = [record.getMessage().partition("in/")[2] for record in caplog.records]
    assert said == [
        "a.png: uses 16 of its 16 bits, the photographs that the model has learnt use 12",
        "p.tif: has 3 pages or frames, of which only the first is used",
    ]
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [len(line["remarks"]) for line in lines] == [1, 1]


def test_evaluate_says_which_masks_are_empty_or_doubtful(run_folder, category, tmp_path, caplog):
    data = shutil.copytree(category, tmp_path / "data")
    masks = sorted((data / "ground_truth").rglob("*.png"))
    mask = np.asarray(Image.open(masks[0]))
    Image.fromarray(np.zeros_like(mask)).save(masks[0])
    Image.fromarray(255 - mask).save(masks[1])
    with caplog.at_level(logging.WARNING, "cavga"):
        catalog = load_catalog(data)
        result = evaluate_detector(AnomalyDetector.load(run_folder), catalog, tmp_path / "out", used={})
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "its mask is empty, though it is labelled bad" in said
    assert f"its mask {masks[1].name} marks" in said
    assert result.problems == []  # they are used all the same
    assert "its mask is empty" in (tmp_path / "out/report.html").read_text()


def test_a_mask_of_a_region_is_doubted_too(tmp_path, caplog):
    mask = np.zeros((40, 60), np.uint8)
    mask[5:20, 5:30] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg")
    with caplog.at_level(logging.WARNING, "cavga"):
        roi = load_roi(str(tmp_path / "a.jpg"))
    assert (roi.mask == (mask > 0)).mean() > 0.99
    assert "is a lossy JPEG file" in caplog.text


@pytest.mark.parametrize("tile", [None, 32])
def test_a_photograph_that_there_is_no_memory_for_is_a_line(run_folder, tmp_path, monkeypatch, tile):
    detector = AnomalyDetector.load(run_folder)
    detector.tiling.tile = tile
    detector.tiling.is_plain = tile is None
    paths = [save_image(tmp_path / f"{i}.png", np.full((48, 48 + i), 90, np.uint8)) for i in range(3)]
    tiles = detector.tiling.tiles

    def without_memory(photograph):
        if photograph.shape[1] == 49:
            raise MemoryError
        return tiles(photograph)

    monkeypatch.setattr(detector.tiling, "tiles", without_memory)
    results = list(detector.results(paths))
    assert [isinstance(result, FailedImage) for result in results] == [False, True, False]
    assert "1.png: 49 x 48 px take more memory than there is" in results[1].error


def test_a_map_s_header_may_not_ask_for_more_than_the_file_holds(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(DataError, match=r"a\.npy: expected a NumPy array of numbers"):
        read_map(tmp_path / "a.npy")
