import json
import os
from pathlib import Path

import pytest

from cavga.data.manifest import sha256_of
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.marking.marks import mark_photographs, said_in, said_of, withdraw_marks
from cavga.runs.marks_file import BAD, GOOD, MARKS_FILE, marks_in_force, read_marks
from cavga.runs.model_json import FEATURES_FILE, load_description, require_features, used_images
from tests.conftest import save_image, texture


def test_marks_are_appended_and_read_again(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD, "scratch"))
    done = mark_photographs(run, said_of([photographs / "good/0.png"], GOOD))
    assert len(done.new) == 1
    marks = read_marks(run)
    assert [mark.label for mark in marks] == [BAD] * 4 + [GOOD]
    assert {mark.type for mark in marks if mark.label == BAD} == {"scratch"}
    assert marks[-1].sha256 == sha256_of(photographs / "good/0.png")
    assert Path(marks[-1].path).is_absolute()


def test_what_is_marked_so_already_is_not_written_twice(run, photographs):
    said = said_of([photographs / "bad"], BAD)
    mark_photographs(run, said)
    again = mark_photographs(run, said)
    assert (again.new, again.num_known) == ((), 4)
    assert len(read_marks(run)) == 4


def test_a_withdrawn_mark_is_none_and_can_be_made_again(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD))
    withdraw_marks(run, [photographs / "bad/0.png"])
    assert len(marks_in_force(read_marks(run))) == 3
    mark_photographs(run, said_of([photographs / "bad/0.png"], GOOD))
    assert list(marks_in_force(read_marks(run)).values())[-1].label == GOOD


def test_a_mark_can_be_withdrawn_when_its_photograph_is_gone(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD))
    (photographs / "bad/1.png").unlink()
    assert len(withdraw_marks(run, [photographs / "bad/1.png"]).in_force) == 3


def unchanged(run: Path, said, error, match):
    before = (run / MARKS_FILE).read_bytes() if (run / MARKS_FILE).exists() else None
    with pytest.raises(error, match=match) as caught:
        mark_photographs(run, said)
    assert "\n" not in str(caught.value)
    assert ((run / MARKS_FILE).read_bytes() if (run / MARKS_FILE).exists() else None) == before


def test_nothing_is_written_where_one_photograph_cannot_be_marked(run, photographs, category):
    (photographs / "bad/broken.png").write_bytes(b"none")
    unchanged(run, said_of([photographs / "bad"], BAD), DataError, "broken.png")
    (photographs / "bad/broken.png").unlink()
    both = [*said_of([photographs / "bad"], BAD), *said_of([photographs / "bad/0.png"], GOOD)]
    unchanged(run, both, DataError, "called good, and bad before")
    trained_on = said_of([photographs / "good/0.png", category / "train/good/000.png"], GOOD)
    unchanged(run, trained_on, DataError, "trained on this very photograph")
    unchanged(run, [], UsageError, "no photographs")
    (run / FEATURES_FILE).unlink()
    unchanged(run, said_of([photographs / "bad"], BAD), ModelFileError, "has no features.safetensors")


def test_what_is_marked_is_no_test_data(run, photographs):
    mark_photographs(run, said_of([photographs], BAD))
    used = used_images(run, load_description(run))
    assert used[sha256_of(photographs / "bad/0.png")] == "train"


def test_labels_come_from_predictions_with_labels_filled_in(photographs):
    lines = [{"path": f"bad/{i}.png", "score": 1.0, "label": label} for i, label in enumerate((1, "good", None))]
    file = photographs / "predictions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    said = said_in(file)
    assert [(item.path.name, item.label) for item in said] == [("0.png", BAD), ("1.png", GOOD)]
    assert all(item.path.is_file() for item in said)


def test_labels_come_from_a_table(photographs):
    (photographs / "labels.csv").write_text("path,label\nbad/0.png,ng\ngood/1.png,ok\n", encoding="utf-8")
    said = said_in(photographs / "labels.csv")
    assert sorted((item.path.name, item.label) for item in said) == [("0.png", BAD), ("1.png", GOOD)]


def test_labels_come_from_a_coco_file(tmp_path):
    for name in ("a", "b"):
        save_image(tmp_path / f"{name}.png", texture(ord(name)))
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 12, 2, 12, 12]]}],
        "categories": [{"id": 1, "name": "scratch"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    said = {item.path.name: (item.label, item.type) for item in said_in(tmp_path / "coco.json")}
    assert said == {"a.png": (BAD, "scratch"), "b.png": (GOOD, "")}


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.jsonl", '{"path": "x.png", "label": "perhaps"}', "neither good nor bad"),
        ("a.jsonl", '{"path": "x.png", "label": null}', "labels no photograph"),
        ("a.jsonl", "nothing", "line 1"),
        ("a.csv", "path\nx.png\n", "no column label"),
    ],
)
def test_a_file_without_labels_is_one_line(tmp_path, name, content, match):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=match):
        said_in(tmp_path / name)


@pytest.mark.parametrize("content", ["path,label\nx,y\n", "", "\0", "path;sha256;label;type;when\n"])
def test_a_damaged_marks_file_is_one_line(tmp_path, content):
    (tmp_path / MARKS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ModelFileError, match="not a file of `cavga mark`") as caught:
        read_marks(tmp_path)
    assert "\n" not in str(caught.value)


def test_marks_that_a_spreadsheet_saved_are_read(run, photographs):
    names = ["a,b.png", 'q"uote.png', "ümläut.png"] + ([] if os.name == "nt" else ["two\nlines.png"])
    for i, name in enumerate(names):
        save_image(photographs / "plain.png", texture(700 + i))
        (photographs / "plain.png").rename(photographs / "bad" / name)
    mark_photographs(run, said_of([photographs / "bad"], BAD, "scratch, long"))
    marks = read_marks(run)
    assert {Path(mark.path).name for mark in marks} >= set(names)
    text = (run / MARKS_FILE).read_bytes().decode()
    (run / MARKS_FILE).write_bytes(b"\xef\xbb\xbf" + text.replace('"\n', '"\r\n').encode())
    assert read_marks(run) == marks


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({}, "earlier cavga"),
        ({"preprocessing": {"tile": 512}}, "without --tile"),
        ({"variant": "r-w"}, "label them there"),
        ({"config": {"model": {"prior": "standard"}}}, "pretrained weights"),
    ],
)
def test_a_run_that_keeps_no_features_says_why(tmp_path, change, match):
    known = {"preprocessing": {}, "variant": "r-s", "config": {"model": {"prior": "aggregated"}}}
    with pytest.raises(ModelFileError, match=match) as caught:
        require_features(tmp_path, {**known, **change})
    assert "\n" not in str(caught.value)
