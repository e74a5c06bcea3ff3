"""The self-test: which images it takes, what it counts, and that it says that its anomalies are made."""

import json
import re
import shutil
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import cavga
from cavga.cli.main import main
from cavga.cli.printing import self_test_lines
from cavga.config.presets import make_config
from cavga.config.schema import as_dict
from cavga.data.records import ImageRecord
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.self_test import Anomaly, Tally, Trial, _plan, _result, _worth_showing, self_test
from cavga.images.decode import read_image
from cavga.images.tiling import Tiling
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Prediction
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, SIZES
from cavga.training.train import train
from tests.conftest import save_image, small_config, texture, write_category
from tests.evaluation.test_report import WellFormed, plain


def records(tmp_path, num):
    return [ImageRecord(tmp_path / f"{i}.png", f"{i}.png", 0, "test") for i in range(num)]


def trial(record, *, anomaly_type="crack", size=0.12, contrast=2.0, found=False):
    return Trial(record, Anomaly(anomaly_type, size, contrast, (0,)), 1.0 if found else 0.0, found)


def test_it_says_what_was_found_and_that_it_is_synthetic(run_folder, category, tmp_path):
    test = self_test(run_folder, category, tmp_path, max_made=72)
    result = json.loads((tmp_path / "self_test.json").read_text())
    assert result == test.result
    assert result["synthetic"] is True
    assert "not real defects" in result["meaning"]
    assert result["settings"]["good_images"] == "test"
    counts = result["counts"]
    assert (counts["good"], counts["made_per_good"], counts["unreadable"]) == (4, 18, 0)
    assert counts["made"] + counts["not_made"] == 72
    for part, names in (("by_kind", CONTROLLED_NAMES), ("by_size", SIZES), ("by_contrast", CONTRASTS)):
        assert list(result[part]) == [str(name) for name in names]
        assert sum(share["count"] for share in result[part].values()) == counts["made"]
        assert sum(share["called"] for share in result[part].values()) == result["found"]["called"]
        assert sum(share["not_made"] for share in result[part].values()) == counts["not_made"]
        for share in result[part].values():
            assert share["interval"][0] <= share["rate"] <= share["interval"][1]
    assert result["false_alarms"]["count"] == 4
    assert not test.problems


class Knowing(AnomalyDetector):
    """Knows the untouched picture, and marks every pixel that differs from it."""

    def __init__(self, untouched):
        self.untouched = untouched.astype(int)
        self.engine = SimpleNamespace(image_size=untouched.shape[:2], image_threshold=1.0, pixel_threshold=1.0)
        self.tiling = Tiling(untouched.shape[:2])
        self.description = dict.fromkeys(("variant", "preset", "weights_sha256")) | {"provenance": {}}
        self.description["calibration"] = {"false_alarm_rate": 0.05}
        self.description["config"] = as_dict(make_config("recommended"))

    def results(self, sources, *, ahead=None):
        for pixels in sources:
            change = np.abs(pixels - self.untouched).max(axis=2).astype(np.float32)
            score = float(change.max())
            yield Prediction(score, 1.0, score >= 1.0, change, change >= 1.0, change.shape, 0.0)


def test_who_knows_the_untouched_picture_finds_everything(category):
    path = category / "test/good/000.png"
    detector = Knowing(read_image(path))
    tally = Tally()
    trials = list(tally.score(detector, _plan([ImageRecord(path, "0.png", 0, "test")], seed=0, max_made=72)))
    result = _result(trials, tally, detector, source="test", per_image=72)
    assert result["image"]["auroc"] == result["found"]["rate"] == 1.0
    assert result["pixel"]["auroc"] > 0.95
    assert result["found"]["called"] > 40
    assert result["false_alarms"]["called"] == 0
    assert [trial.anomaly is None for trial in trials].index(True) == 0


def test_who_calls_everything_anomalous_is_warned_of(category):
    record = ImageRecord(category / "test/good/000.png", "0.png", 0, "test")
    trials = [
        Trial(record, anomaly, 1.0, True) for anomaly in (None, None, None, None, Anomaly("cast", 0.1, 1.0, (0,)))
    ]
    detector = Knowing(read_image(record.path))
    result = _result(trials, Tally(), detector, source="test", per_image=1)
    assert "100% of the untouched images are predicted anomalous, 5% were asked for" in result["warning"]
    assert result["counts"]["found_on_false_alarms"] == 1
    assert "warning: 100%" in self_test_lines(result)[-1]
    few = [Trial(record, None, 1.0, i == 0) for i in range(30)]
    assert _result(few, Tally(), detector, source="test", per_image=1)["warning"] is None


def test_the_same_run_gives_the_same_result(run_folder, category, tmp_path):
    for name in ("one", "two"):
        self_test(run_folder, category, tmp_path / name, max_made=20)
    for file in ("self_test.json", "self_test.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_page_stands_alone_and_shows_missed_ones_first(run_folder, category, tmp_path):
    self_test(run_folder, category, tmp_path, max_made=72)
    page = (tmp_path / "self_test.html").read_text(encoding="utf-8")
    parser = WellFormed()
    parser.feed(page)
    assert not parser.open
    assert "not real defects" in plain(page)
    verdicts = re.findall('<b class="(missed|found)">', page)
    assert 12 <= len(verdicts) == page.count(">made: ") <= 24
    assert verdicts == sorted(verdicts, reverse=True)
    assert all(f"made: {anomaly_type}" in page for anomaly_type in CONTROLLED_NAMES)


def test_metrics_of_an_evaluation_are_left_alone(run_folder, category, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    evaluate(run, category)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    self_test(run, category, max_made=8)
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert {name for name in after if name not in before} == {"self_test.json", "self_test.html"}
    assert all(after[name] == content for name, content in before.items())


def test_calibration_images_are_taken_where_there_are_no_good_test_images(tmp_path):
    data = write_category(tmp_path / "data", num_good=0, num_bad=0)
    for i in range(3):
        save_image(data / f"validation/good/{i}.png", texture(300 + i))
    run = train(data, tmp_path / "run", small_config(epochs=1))
    result = self_test(run, data, max_made=6).result
    assert result["settings"]["good_images"] == "calibration"
    assert result["counts"]["good"] == 3
    assert "says nothing new" in (run / "self_test.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match="none of the 3 images that set its thresholds; add"):
        self_test(run, write_category(tmp_path / "other", num_good=0, num_bad=0))


def test_with_folds_the_training_images_do_where_there_are_no_others(tmp_path):
    for i in range(5):
        save_image(tmp_path / "photos" / f"{i}.png", texture(i))
        save_image(tmp_path / "others" / f"{i}.png", texture(30 + i))
    run = train(tmp_path / "photos", tmp_path / "run", small_config(epochs=1))
    seen = self_test(run, tmp_path / "photos", max_made=5).result
    assert seen["settings"]["good_images"] == "train"
    assert (seen["counts"]["good"], seen["found"]["count"] > 0) == (5, True)
    assert seen["false_alarms"]["rate"] is seen["image"]["auroc"] is seen["pixel"]["auroc"] is None
    assert "what they score untouched says nothing" in (run / "self_test.html").read_text(encoding="utf-8")
    shutil.copy(tmp_path / "photos/0.png", tmp_path / "others/seen.png")
    result = cavga.self_test(run, tmp_path / "others", max_made=5).result
    assert result["settings"]["good_images"] == "unseen"
    assert result["counts"]["good"] == 5


def test_an_unreadable_image_is_named_and_left_out(run_folder, category, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(category, data)
    (data / "test/good/001.png").write_bytes(b"")
    test = self_test(run_folder, data, tmp_path / "out", max_made=4)
    assert (test.result["counts"]["good"], test.result["counts"]["unreadable"]) == (3, 1)
    assert "001.png" in test.problems[0]
    for path in (data / "test/good").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of its 4 good images can be read"):
        self_test(run_folder, data, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_where_nothing_can_be_made_nothing_is_computed(run_folder, tmp_path):
    for i in range(2):
        save_image(tmp_path / f"data/test/good/{i}.png", np.full((48, 48), 100 + i, np.uint8))
    save_image(tmp_path / "data/train/good/0.png", texture(0))
    result = self_test(run_folder, tmp_path / "data", tmp_path / "out", max_made=4).result
    assert result["counts"]["not_made"] == 4
    assert result["found"]["rate"] is result["image"]["auroc"] is result["pixel"]["auroc"] is None
    assert "not computable" in (tmp_path / "out/self_test.html").read_text(encoding="utf-8")


def test_every_good_image_gets_the_same_number_and_every_cell_its_turn(tmp_path):
    plan = _plan(records(tmp_path, 36), seed=3, max_made=150)
    assert {len(anomalies) for _, anomalies in plan} == {4}
    cells = Counter((one.anomaly_type, one.size, one.contrast) for _, anomalies in plan for one in anomalies)
    assert len(cells) == len(CONTROLLED_NAMES) * len(SIZES) * len(CONTRASTS)
    assert set(cells.values()) == {2}
    assert len({one.key for _, anomalies in plan for one in anomalies}) == 144
    assert plan == _plan(records(tmp_path, 36), seed=3, max_made=150)
    assert plan != _plan(records(tmp_path, 36), seed=4, max_made=150)


def test_of_many_images_at_most_so_many_are_taken(tmp_path):
    plan = _plan(records(tmp_path, 50), seed=0, max_made=20)
    assert [len(anomalies) for _, anomalies in plan] == [1] * 20
    assert len({record.path for record, _ in plan}) == 20


def test_of_each_kind_the_strongest_missed_and_the_faintest_found_are_shown(tmp_path):
    (record,) = records(tmp_path, 1)
    missed = [trial(record, size=size) for size in SIZES]
    found = [trial(record, contrast=contrast, found=True) for contrast in CONTRASTS]
    untouched = Trial(record, None, 0.0, False)
    assert _worth_showing([untouched, *found, *missed]) == [missed[3], missed[2], missed[1], found[0]]
    assert _worth_showing(missed) == missed[::-1]
    assert _worth_showing(found) == found
    assert _worth_showing([Trial(record, None, 1.0, True), *found]) == []  # found without merit
    other = trial(record, anomaly_type="bulge")
    assert _worth_showing([found[0], other]) == [other, found[0]]


def test_wrong_use_is_refused(run_folder, category, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        self_test(run_folder, category, tmp_path / "file")
    with pytest.raises(UsageError, match="at least 1"):
        self_test(run_folder, category, tmp_path, max_made=0)
    with pytest.raises(ModelFileError):
        self_test(tmp_path / "nothing", category, tmp_path)


def test_the_command(run_folder, category, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cavga.evaluation.self_test.self_test", partial(self_test, max_made=36))
    command = ["evaluate", str(run_folder), str(category), "--self-test", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("synthetic anomalies, not real defects")
    assert "glints" in out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out/self_test.json").read_text())
    assert main([*command, "--evaluation-size", "original"]) == 2
    assert main([*command, "--without", str(run_folder)]) == 2
    assert "--self-test takes neither" in capsys.readouterr().err
