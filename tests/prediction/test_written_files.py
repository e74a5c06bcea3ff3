"""What people open first: predictions.csv in a spreadsheet, gallery.html; and coco.json, which comes in again."""

import csv
import json
import re

import numpy as np
import pytest

from cavga.data.catalog import load_catalog
from cavga.errors import DataError
from cavga.images.masks import read_mask
from cavga.inference.lines import prediction_line
from cavga.inference.prepare import FailedImage
from cavga.prediction.gallery_page import NUM_SHOWN, Gallery
from cavga.prediction.predict import PredictionOutputs, predict_to_folder
from cavga.prediction.spreadsheet import COLUMNS, table_writer
from cavga.rendering.scale import picture_scale
from tests.conftest import save_image
from tests.prediction.test_predict import Told, prediction, squares


@pytest.fixture
def photographs(tmp_path):
    """Three photographs, the last in a folder of its own."""
    for i, name in enumerate(("0.png", "1.png", "sub/ü2.png")):
        save_image(tmp_path / "photographs" / name, np.full((64, 96, 3), 80 * i, dtype=np.uint8))
    return tmp_path / "photographs"


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_says_what_the_lines_say(photographs, tmp_path):
    results = {
        "0.png": prediction(squares((2, 3), (20, 20))),
        "1.png": FailedImage("1.png: is empty"),
        "ü2.png": prediction(squares()),
    }
    outputs = PredictionOutputs(overlays=True)
    predict_to_folder(Told(lambda path: results[path.name]), [photographs], tmp_path / "out", outputs=outputs)
    content = (tmp_path / "out/predictions.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfpath,verdict,score")  # by which Excel knows that umlauts are UTF-8
    rows = table(tmp_path / "out/predictions.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["verdict"], row["num_regions"], row["overlay"]) for row in rows] == [
        ("anomalous", "2", "overlays/0.png"), ("", "", ""), ("normal", "0", "overlays/sub/ü2.png"),
    ]  # fmt: skip
    assert rows[2]["path"] == f"{photographs.as_posix()}/sub/ü2.png"
    assert rows[1]["error"] == "1.png: is empty"
    assert float(rows[0]["score"]) == 2.0


@pytest.mark.parametrize("name", ["=cmd|'C calc'!A0.png", "+1.png", "-1.png", "@SUM(A1).png", "  =1.png"])
def test_no_file_name_is_run_as_a_formula_and_its_path_still_leads_there(tmp_path, name):
    with table_writer(tmp_path / "predictions.csv") as file:
        file.add(prediction_line(name, score=-1.5, threshold=0.0, error=f"{name}: is empty"))
    (row,) = table(tmp_path / "predictions.csv")
    assert (row["path"], row["score"]) == (f"./{name}", "-1.5")
    assert row["error"].startswith("./")
    (tmp_path / name).write_bytes(b"")
    assert (tmp_path / row["path"]).is_file()


def test_names_with_quotes_returns_and_foreign_bytes_stay_in_their_cell(tmp_path):
    names = ['a",b.png', "c\nd.png", "e\rf.png", "g\udce9.png"]
    with table_writer(tmp_path / "predictions.csv") as file:
        for name in names:
            file.add(prediction_line(name, score=1.0, threshold=0.0))
    assert [row["path"] for row in table(tmp_path / "predictions.csv")] == [*names[:3], "g\\udce9.png"]


def test_a_table_of_predictions_is_not_taken_for_labels(photographs, tmp_path):
    predict_to_folder(Told(), [photographs], tmp_path / "out")
    with pytest.raises(DataError, match="says what `cavga predict` found, not what is true; add a column label"):
        load_catalog(tmp_path / "out/predictions.csv")


def names_in(page):
    return re.findall(r'class="name">([^<]*)<', page)


def test_the_gallery_shows_the_highest_scores_first_in_one_file(photographs, tmp_path):
    scores = {"0.png": 0.5, "1.png": 3.0, "ü2.png": 1.25}
    make = lambda path: prediction(squares() + np.float32(scores[path.name] - 0.1))  # noqa: E731
    predict_to_folder(Told(make), [photographs], tmp_path / "out")
    page = (tmp_path / "out/gallery.html").read_text(encoding="utf-8")
    assert [name.rpartition("/")[2] for name in names_in(page)] == ["1.png", "ü2.png", "0.png"]
    assert "3 photographs scored, 2 anomalous." in page
    assert page.count("data:image/jpeg") == 2 * 3
    assert "score 3 ≥ 1" in page
    assert "score 0.5 &lt; 1" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_the_gallery_of_very_many_is_bounded_and_says_so(tmp_path):
    path = save_image(tmp_path / "p.png", np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8))
    detector = Told()
    gallery = Gallery(detector, picture_scale(detector), 1.0)
    for i in range(NUM_SHOWN + 500):
        gallery.add(path, f"{i}", prediction(squares() + np.float32(i / 100), image_size=(400, 600)))
    page = gallery.page(num_scored=NUM_SHOWN + 500, num_anomalous=7, table="predictions.csv")
    assert names_in(page.decode())[:2] == [f"{NUM_SHOWN + 499}", f"{NUM_SHOWN + 498}"]
    assert f"Here are the {NUM_SHOWN} with the highest scores; predictions.csv has all." in page.decode()
    assert len(page) < 10 * 2**20  # of noise, which JPEG hardly makes smaller


def test_a_photograph_that_went_meanwhile_is_named_without_pictures(tmp_path):
    detector = Told()
    gallery = Gallery(detector, picture_scale(detector), 1.0)
    gallery.add(tmp_path / "gone.png", "gone.png", prediction(squares((2, 3))))
    page = gallery.page(num_scored=1, num_anomalous=1, table="predictions.csv").decode()
    assert names_in(page) == ["gone.png"]
    assert "data:image" not in page
    assert (
        "No photograph was scored"
        in Gallery(detector, picture_scale(detector), 1.0).page(num_scored=0, num_anomalous=0, table="").decode()
    )


def test_coco_that_goes_out_comes_in_again(photographs, tmp_path):
    no_place = squares()
    no_place[5, 5] = 0.9  # below the threshold of the mask
    results = {
        "0.png": prediction(squares((2, 3), (20, 20))),
        "1.png": prediction(squares()),
        "ü2.png": prediction(no_place),
    }
    predict_to_folder(
        Told(lambda path: results[path.name]), [photographs], tmp_path / "out", threshold=0.5,
        outputs=PredictionOutputs(coco=True),
    )  # fmt: skip
    written = tmp_path / "out/coco.json"
    names = [image["file_name"] for image in json.loads(written.read_text(encoding="utf-8"))["images"]]
    assert names == ["0.png", "1.png", "sub/ü2.png"]  # as an annotation tool finds them from the folder
    with pytest.raises(DataError, match="put the file into the folder of the photographs"):
        load_catalog(written)
    written.rename(photographs / "coco.json")
    catalog = load_catalog(photographs)
    labels = {record.relative_path: record.label for record in catalog.records}
    assert labels == {"0.png": 1, "1.png": 0, "sub/ü2.png": 1}
    marked = next(read_mask(record.mask_paths) for record in catalog.records if record.mask_paths)
    assert marked.sum() == 2 * 8 * 12  # 4 x 4 of 32 x 32, twice, in a photograph of 64 x 96
    assert any("says what a model found" in remark.problem for remark in catalog.remarks)


def test_names_are_relative_to_the_folder_above_all_inputs(photographs, tmp_path):
    inputs = [photographs / "sub", photographs / "0.png"]
    predict_to_folder(Told(), inputs, tmp_path / "out", outputs=PredictionOutputs(coco=True))
    images = json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))["images"]
    assert [image["file_name"] for image in images] == ["sub/ü2.png", "0.png"]
