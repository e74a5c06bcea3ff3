import json
import os
import zipfile

import numpy as np
import pytest

from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import read_predictions
from cavga.marking.marks import said_in
from cavga.monitoring.operating_point import set_operating_point
from cavga.projects.downloads import OverlayArchive, exported_model, table_bytes
from cavga.projects.inspection import Inspection, map_of, version_of
from tests.conftest import cavga, save_image, texture


def scored(project) -> Inspection:
    inspection = Inspection(project)
    inspection.score(AnomalyDetector.load(project.needed_run(), device="cpu"), inspection.missing())
    return inspection


def test_scores_are_those_of_the_command_and_are_there_the_next_time(part, tmp_path):
    lines = scored(part).lines()
    assert cavga("predict", part.run(), part.inspect, "--output", tmp_path / "out").returncode == 0
    theirs = {line.path.rpartition("/")[2]: line for line in read_predictions(tmp_path / "out/predictions.jsonl")}
    assert {name: line["score"] for name, line in lines.items()} == {n: line.score for n, line in theirs.items()}
    again = Inspection(part)
    assert (again.missing(), again.lines()) == ([], lines)


def test_what_is_new_or_changed_is_missing(part):
    inspection = scored(part)
    save_image(part.inspect / "deep/new.png", texture(9))
    save_image(part.inspect / "1.png", texture(10, size=52))
    (part.inspect / "2.png").unlink()
    assert sorted(inspection.missing()) == ["1.png", "deep/new.png"]
    assert sorted(inspection.lines()) == ["0.png"]


def test_another_version_or_threshold_makes_all_missing(part):
    inspection, before = scored(part), version_of(part)
    set_operating_point(part.run(), threshold=1e6)
    assert version_of(part) != before
    assert len(inspection.missing()) == 3
    assert not any(line["is_anomalous"] for line in scored(part).lines().values())


def test_results_of_others_are_not_taken_for_its_own(part):
    scored(part)
    file = part.results / "predictions.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"is_anomalous": false', b'"is_anomalous": true'))
    assert len(Inspection(part).missing()) == 3
    (part.results / "scored.json").write_text("{}", encoding="utf-8")
    assert len(Inspection(part).missing()) == 3


def test_a_photograph_that_cannot_be_read_has_a_line_that_says_so(part):
    (part.inspect / "damaged.png").write_bytes(b"x")
    inspection = scored(part)
    assert inspection.missing() == []
    line = inspection.lines()["damaged.png"]
    assert line["score"] is None
    assert line["error"].startswith("damaged.png: ")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes here")
def test_what_is_no_file_is_said_once(part):
    os.mkfifo(part.inspect / "pipe.png")
    inspection = scored(part)
    assert inspection.missing() == []
    assert "pipe" in inspection.lines()["pipe.png"]["error"]


def test_the_command_for_marks_reads_its_lines(part):
    scored(part)
    file = part.results / "predictions.jsonl"
    lines = [{**json.loads(line), "label": 1} for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert [said.path.resolve() for said in said_in(file)] == [part.inspect / f"{i}.png" for i in range(3)]


def test_a_full_disk_is_said_and_the_scores_stay(part, monkeypatch):
    inspection = scored(part)
    monkeypatch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    inspection.write()
    assert "No space left" in inspection.problem
    assert len(inspection.lines()) == 3
    assert str(part.root) not in inspection.problem


def test_a_huge_map_keeps_its_peaks(part, monkeypatch):
    detector = AnomalyDetector.load(part.run(), device="cpu")
    whole = map_of(detector, part.inspect / "0.png")
    monkeypatch.setattr("cavga.projects.inspection.MOST_MAP_VALUES", 100)
    small = map_of(detector, part.inspect / "0.png")
    assert small.size <= 100
    assert small.max() == whole.max()
    assert small.dtype == np.float32


def test_an_archive_names_what_it_could_not_draw(part, tmp_path):
    detector, archive = AnomalyDetector.load(part.run(), device="cpu"), OverlayArchive()
    lines = scored(part).lines()
    content = archive.add(detector, "0.png", part.inspect / "0.png")
    content += archive.add(detector, "gone.png", part.inspect / "gone.png")
    content += archive.end(lines)
    (tmp_path / "all.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "all.zip") as found:
        assert found.testzip() is None
        assert sorted(found.namelist()) == ["0.png.overlay.png", "not-drawn.txt", "predictions.csv"]
        assert found.read("not-drawn.txt").startswith(b"gone.png")
        assert found.read("predictions.csv") == table_bytes(lines)


def test_the_model_comes_with_thresholds_that_were_set_since(part, tmp_path):
    name, content = exported_model(part)
    assert (name, content) == ("part.onnx", (part.run() / "model.onnx").read_bytes())
    set_operating_point(part.run(), threshold=123.0)
    name, content = exported_model(part)
    assert name == "part-onnx.zip"
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as found:
        found.extractall(tmp_path / "out")
    assert AnomalyDetector.load(tmp_path / "out/part.onnx", device="cpu").image_threshold == pytest.approx(123.0)
