"""One table of metrics: what it names is computed, and what is added to it is shown everywhere."""

import json

import numpy as np
import pytest

from cavga.cli.printing import table_line
from cavga.evaluation.compare import compare_evaluations
from cavga.evaluation.report import Section, write_report
from cavga.metrics import registry
from cavga.metrics.bootstrap import recall_of
from cavga.metrics.image import image_metrics
from cavga.metrics.pixel import PixelHistogram, pixel_metrics
from cavga.metrics.registry import BY_TYPE, COMPARED, CONSOLE, REPORT, Metric, shown_in


def test_every_metric_is_in_metrics_json():
    mask = np.array([[True, False]])
    pixel = pixel_metrics(lambda: iter([(np.array([[0.9, 0.1]], np.float32), mask)]), 0.5).metrics
    metrics = {"image": image_metrics([0.1, 0.9], [0, 1], 0.5), "pixel": pixel}
    assert all(metric.of(metrics) is not None for metric in registry.METRICS)
    of_type = {"image": metrics["image"], "pixel": PixelHistogram().metrics()}
    assert all(metric.key in of_type[metric.section] for metric in shown_in(BY_TYPE))


def test_what_is_compared_can_be_resampled_and_what_is_reported_has_a_meaning():
    assert all(metric.resampled for metric in shown_in(COMPARED))
    assert all(metric.heading and metric.meaning for metric in shown_in(REPORT))
    names = [metric.name for metric in registry.METRICS]
    assert len(set(names)) == len(names)


def test_the_table_that_commands_print_fits_80_columns():
    assert len(table_line("run", None)) <= 80
    assert len(table_line("run", {"image": {"auroc": 0.5}, "pixel": {}})) == len(table_line("run", None))


@pytest.fixture
def added(monkeypatch):
    places = frozenset({REPORT, BY_TYPE, CONSOLE, COMPARED})
    metric = Metric("image", "hits", "hits", places, "Hits", "all that was hit", resampled=recall_of)
    monkeypatch.setattr(registry, "METRICS", (*registry.METRICS, metric))


def test_a_line_in_the_table_is_shown_everywhere(added, tmp_path):
    metrics = {
        "image": {"hits": 0.625},
        "pixel": {"iou_dataset_oracle": None},
        "by_defect_type": {"dent": {"hits": 0.375}},
    }
    assert table_line("", None).endswith("hits")
    assert table_line("x", metrics).endswith("0.625")
    write_report(tmp_path / "report.html", "x", [Section("x", metrics, [(1.0, 1)], [], [])])
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("Hits", "all that was hit", "0.625", "0.375"))
    for name in "ab":
        (tmp_path / name).mkdir()
        lines = [{"path": str(label), "score": label, "is_anomalous": bool(label), "label": label} for label in (0, 1)]
        (tmp_path / name / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert compare_evaluations(tmp_path / "a", tmp_path / "b")["metrics"]["hits"]["a"] == 1
