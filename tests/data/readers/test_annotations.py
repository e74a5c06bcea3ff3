"""COCO files in the form in which annotation tools write them: CVAT 2.x, "COCO 1.0"; Label Studio 1.x, COCO."""

import json

import numpy as np
import pytest

from cavga.cli.main import main
from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog, count_images
from cavga.errors import DataError, UsageError
from cavga.images.masks import read_mask
from tests.data.made_sets import noise, put

HEIGHT, WIDTH = 20, 30
SQUARE = [3.0, 4.0, 9.0, 4.0, 9.0, 10.0, 3.0, 10.0]
MARKED = np.zeros((HEIGHT, WIDTH), dtype=bool)
MARKED[4:10, 3:9] = True
COMPRESSED = "P26>000000000P="  # of MARKED, by pycocotools 2.0.11


def photographs(folder, *names):
    for seed, name in enumerate(names):
        put(folder / name, noise(seed, HEIGHT, WIDTH, 3))
    return folder


def run_lengths(mask):
    """Uncompressed, as both tools write brush marks when they do not compress them."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


def cvat(path, names, annotations, categories=("crack", "scratch")):
    """As CVAT 2.x exports COCO 1.0: numbers from 1, file names with their folders."""
    coco = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(categories, 1)],
        "images": [
            {"id": i, "width": WIDTH, "height": HEIGHT, "file_name": name, "license": 0, "flickr_url": "",
             "coco_url": "", "date_captured": 0}
            for i, name in enumerate(names, 1)
        ],
        "annotations": [
            {"id": i, "image_id": names.index(name) + 1, "category_id": category, "segmentation": shape, "area": 36.0,
             "bbox": [3.0, 4.0, 6.0, 6.0], "iscrowd": int(isinstance(shape, dict)), "attributes": {"occluded": False}}
            for i, (name, category, shape) in enumerate(annotations, 1)
        ],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))
    return path


def label_studio(path, names, annotations):
    """As Label Studio 1.x exports COCO: numbers from 0, uploads with eight digits before their names."""
    coco = {
        "images": [{"width": WIDTH, "height": HEIGHT, "id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": 0, "name": "Scratch"}],
        "annotations": [
            {"id": i, "image_id": names.index(name), "category_id": 0, "segmentation": shape,
             "bbox": [3.0, 4.0, 6.0, 6.0], "ignore": 0, "iscrowd": 0, "area": 36.0}
            for i, (name, shape) in enumerate(annotations)
        ],
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": "",
                 "date_created": "2026-01-01 00:00:00.000000"},
    }  # fmt: skip
    path.write_text(json.dumps(coco))
    return path


def labels(catalog):
    return {record.relative_path: (record.split, record.label, record.defect_type) for record in catalog.records}


def masks(catalog):
    return {record.relative_path: read_mask(record.mask_paths) for record in catalog.records if record.mask_paths}


@pytest.mark.parametrize("place", ["", "images", "images/default"])
def test_a_cvat_export_with_polygons_and_brush_marks(tmp_path, place):
    good = [f"line 1/{i}.png" for i in range(5)]
    photographs(tmp_path / place, *good, "a.png", "b.png")
    brush = {"counts": run_lengths(MARKED), "size": [HEIGHT, WIDTH]}
    marks = [("a.png", 1, [SQUARE]), ("a.png", 2, [[20, 0, 30, 0, 30, 5]]), ("b.png", 2, brush)]
    cvat(tmp_path / "annotations/instances_default.json", [*good, "a.png", "b.png"], marks)
    catalog = load_catalog(tmp_path)
    start = f"{place}/" if place else ""
    assert catalog.layout == "coco"
    assert labels(catalog) == {
        **{f"{start}{name}": ("train", 0, None) for name in good[:4]},
        f"{start}{good[4]}": ("test", 0, None),
        f"{start}a.png": ("test", 1, "crack+scratch"),
        f"{start}b.png": ("test", 1, "scratch"),
    }
    found = masks(catalog)
    assert (found[f"{start}b.png"] == MARKED).all()
    assert (found[f"{start}a.png"][:, :20] == MARKED[:, :20]).all()
    assert found[f"{start}a.png"][0, 25]  # of the second annotation
    assert not any(finding.severity == "error" for finding in check_catalog(catalog))
    assert [finding.problem for finding in catalog.remarks] == [
        "annotations taken as defects: crack (1 images), scratch (2 images); 5 images without one as good",
        "gives no split: 4 good images train; 1 good and 2 bad ones are the test",
    ]
    assert catalog == load_catalog(tmp_path)  # the masks are drawn once


def test_subsets_of_cvat_are_splits(tmp_path):
    photographs(tmp_path / "images/Train", "0.png", "1.png")
    photographs(tmp_path / "images/Test", "2.png", "3.png")
    cvat(tmp_path / "annotations/instances_Train.json", ["0.png", "1.png"], [("1.png", 1, [SQUARE])])
    cvat(tmp_path / "annotations/instances_Test.json", ["2.png", "3.png"], [("3.png", 1, [SQUARE])])
    assert labels(load_catalog(tmp_path)) == {
        "images/Train/0.png": ("train", 0, None),
        "images/Train/1.png": ("train", 1, "crack"),
        "images/Test/2.png": ("test", 0, None),
        "images/Test/3.png": ("test", 1, "crack"),
    }


@pytest.mark.parametrize(
    "written",
    [
        "images/1a2b3c4d-part_1.png", "images\\1a2b3c4d-part_1.png", "/data/upload/3/1a2b3c4d-part_1.png",
        "/data/local-files/?d=photos/part%201.png", "../../label-studio/data/media/upload/3/1a2b3c4d-part_1.png",
    ],
)  # fmt: skip
def test_a_label_studio_export_finds_the_photographs_that_were_uploaded(tmp_path, written):
    photographs(tmp_path, "photos/part 1.png", "photos/part 2.png")
    path = label_studio(tmp_path / "result.json", [written, "images/5e6f7a8b-part_2.png"], [(written, [SQUARE])])
    catalog = load_catalog(path)
    assert labels(catalog) == {"photos/part 2.png": ("train", 0, None), "photos/part 1.png": ("test", 1, "Scratch")}
    assert (masks(catalog)["photos/part 1.png"] == MARKED).all()


def test_two_uploads_of_one_name_are_nobodys(tmp_path):
    photographs(tmp_path, "x.png", "y.png")
    names = ["images/11111111-x.png", "images/22222222-x.png", "images/33333333-y.png"]
    catalog = load_catalog(label_studio(tmp_path / "result.json", names, []))
    assert [path.name for path in catalog.missing] == ["11111111-x.png", "22222222-x.png"]
    problems = [(row.path, row.problem) for row in check_catalog(catalog) if row.severity == "error"]
    assert ("images/11111111-x.png", "is listed but does not exist") in problems


def test_compressed_brush_marks_and_broken_ones(tmp_path):
    photographs(tmp_path, "a.png", "b.png", "c.png")
    marks = [
        ("a.png", {"counts": COMPRESSED, "size": [HEIGHT, WIDTH]}),
        ("b.png", {"counts": COMPRESSED[:3], "size": [HEIGHT, WIDTH]}),
    ]
    catalog = load_catalog(label_studio(tmp_path / "result.json", ["a.png", "b.png", "c.png"], marks))
    assert labels(catalog)["b.png"] == ("test", 1, "Scratch")
    assert (masks(catalog)["a.png"] == MARKED).all()
    assert list(masks(catalog)) == ["a.png"]
    assert (catalog.remarks[-1].path, catalog.remarks[-1].severity) == ("b.png", "error")
    assert "run lengths that do not cover 30 x 20 pixels" in catalog.remarks[-1].problem


def test_boxes_say_that_an_image_is_bad_and_are_no_masks(tmp_path):
    photographs(tmp_path, "a.png", "b.png", "c.png")
    path = cvat(tmp_path / "boxes.json", ["a.png", "b.png", "c.png"], [("a.png", 1, []), ("b.png", 1, [SQUARE])])
    catalog = load_catalog(path)
    assert count_images(catalog) | {"calibration_normal": 0} == {
        **dict.fromkeys(("train_anomalous", "calibration_normal", "test_normal", "test_unknown"), 0),
        **{"train_normal": 1, "test_anomalous": 2, "with_mask": 1},
    }
    errors = [(row.path, row.problem, row.remedy) for row in check_catalog(catalog) if row.severity == "error"]
    assert ("a.png", "has a defect but no mask") in [error[:2] for error in errors]
    assert "1 images have boxes, which are no masks" in [row.problem for row in catalog.remarks]


def test_categories_that_say_good_mark_no_defect(tmp_path):
    photographs(tmp_path, "a.png", "b.png")
    marks = [("a.png", 1, [SQUARE]), ("b.png", 2, [SQUARE])]
    path = cvat(tmp_path / "list.json", ["a.png", "b.png"], marks, categories=("OK", "Kratzer"))
    assert labels(load_catalog(path)) == {"a.png": ("train", 0, None), "b.png": ("test", 1, "Kratzer")}


def test_photographs_that_nobody_listed_are_not_trained_on(tmp_path):
    photographs(tmp_path, "a.png", "b.png", "new/c.png")
    cvat(tmp_path / "annotations.json", ["a.png", "b.png"], [])
    catalog = load_catalog(tmp_path)
    assert count_images(catalog)["train_normal"] == 2
    row = next(row for row in check_catalog(catalog) if row.path == "new/c.png")
    assert row.remedy == "the COCO file does not list it; annotate it too, or leave it out"


def test_what_cannot_be_used_is_named(tmp_path):
    photographs(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"none of the 1 images it lists is there, the first is .*x\.png; put the file"):
        load_catalog(cvat(tmp_path / "list.json", ["x.png"], []))
    with pytest.raises(DataError, match="lists no images"):
        load_catalog(cvat(tmp_path / "list.json", [], []))
    (tmp_path / "list.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(DataError, match=r"expected a COCO file with images and annotations: .*file_name"):
        load_catalog(tmp_path / "list.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="expected a COCO file"):
        load_catalog(tmp_path / "list.json")
    assert load_catalog(tmp_path).layout == "folder"  # another kind of file says nothing of the images
    with pytest.raises(UsageError, match="layout 'folder' needs a folder"):
        load_catalog(tmp_path / "list.json", layout="folder")


def test_good_images_in_train_good_go_before_a_file_beside_them(tmp_path):
    photographs(tmp_path, "train/good/a.png", "test/crack/b.png")
    cvat(tmp_path / "coco.json", ["test/crack/b.png"], [])
    assert load_catalog(tmp_path).layout == "mvtec"


def test_check_says_what_was_made_of_it(tmp_path, capsys):
    good = [f"{i}.png" for i in range(10)]
    photographs(tmp_path, *good, "x.png")
    cvat(tmp_path / "instances_default.json", [*good, "x.png"], [("x.png", 1, [SQUARE])])
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "layout coco" in said
    assert (
        "note: instances_default.json: gives no split: 8 good images train; 2 good and 1 bad ones are the test" in said
    )
    assert "with_mask: 1" in said
