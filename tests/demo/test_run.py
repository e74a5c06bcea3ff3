import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cavga.config.presets import make_config
from cavga.demo.papers import PAPERS
from cavga.demo.run import DEMO_SETTINGS, run_demo
from cavga.errors import UsageError


def test_the_demo_gives_a_run_for_each_paper_one_summary_one_report(tmp_path, caplog):
    small = {"data": {"image_size": (32, 32)}, "model": {"weights": "none", "latent_channels": 8}}
    config = make_config("recommended", DEMO_SETTINGS, small, {"training": {"epochs": 1}})
    caplog.set_level("INFO", logger="cavga")
    run_demo(tmp_path / "demo", config)
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    assert list(summary) == [text for text in caplog.messages if text in PAPERS] == list(PAPERS)
    for paper, metrics in summary.items():
        folder: Path = tmp_path / "demo" / paper
        assert json.loads((folder / "metrics.json").read_text()).items() >= metrics.items()
        assert metrics["counts"]["test_anomalous"] == 48
        assert (folder / "report.html").is_file()
    page = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    assert "Bianconi et al. 2014, CC BY 4.0" in page
    assert len(page) < 8e6


def test_the_demo_replaces_a_demo_and_nothing_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    config = make_config("recommended", DEMO_SETTINGS)
    with pytest.raises(UsageError, match="something other than a demo"):
        run_demo(tmp_path / "mine", config)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_demo_that_is_stopped_half_way_leaves_the_earlier_one_whole(tmp_path, monkeypatch):
    stops = False

    def train(_data, run, _config, **_options):
        if stops and run.name == PAPERS[-1]:
            raise KeyboardInterrupt
        run.mkdir(parents=True)
        (run / "config.toml").write_text(f"of demo {count}")
        return run

    monkeypatch.setattr("cavga.demo.run.train", train)
    found = SimpleNamespace(metrics={}, section=None)
    monkeypatch.setattr("cavga.demo.run.evaluate", lambda *_arguments, **_options: found)
    monkeypatch.setattr("cavga.demo.run.write_report", lambda path, *_: path.write_text(f"of demo {count}"))
    output, config = tmp_path / "demo", make_config("recommended", DEMO_SETTINGS)
    count = 1
    run_demo(output, config)
    before = contents(output)
    count = 2
    stops = True
    with pytest.raises(KeyboardInterrupt):
        run_demo(output, config)
    stops = False
    assert contents(output) == before
    run_demo(output, config)
    assert {(output / paper / "config.toml").read_text() for paper in PAPERS} == {"of demo 2"}
    assert {path.name for path in output.iterdir()} == {*PAPERS, "data", "report.html", "summary.json"}
    (output / PAPERS[0] / "config.toml").unlink()  # somebody's own
    with pytest.raises(UsageError, match="something other than a demo"):
        run_demo(output, config)
