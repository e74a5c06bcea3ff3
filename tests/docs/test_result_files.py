"""Committed results: a header, then one row a line; tables in Markdown."""

import json

import pytest

from benchmarks.collect import main as collect
from benchmarks.result_files import FOLDER, read_result, write_result
from docs.generate.own_tables import real_sets
from docs.generate.paper_tables import LIKE, grey_levels, paper_tables
from docs.generate.tables import show, table, value, wrapped

UNMARKED = ("c3", "c4", "c7", "c8")  # of Table 8: a convolutional z

CONTENT = {
    "table": "demo",
    "absent": [],
    "rows": [{"cell": "r-u", "value": 1.5, "parts": [{"list": 1}]}, {"cell": "r-s", "value": None}],
    "bins": {"r-u, paper": [{"images": 3}], "r-w": []},
    "shown": {"mvtec_ad/screw": ["test/good/006.jpg"]},
}


def test_what_is_written_is_read_back_in_its_order(tmp_path):
    written = write_result("demo", CONTENT, tmp_path)
    assert json.dumps(read_result("demo", tmp_path)) == json.dumps(CONTENT)
    lines = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {**CONTENT, "rows": [], "bins": {"r-u, paper": [], "r-w": []}}
    assert [line["list"] for line in lines[1:]] == ["rows", "rows", "bins/r-u, paper"]


@pytest.mark.parametrize("content", [{"rows": [{"list": 1}]}, {"a/b": [{"cell": 1}]}])
def test_what_could_not_be_read_back_is_not_written(content, tmp_path):
    with pytest.raises(ValueError, match="a list of rows has no /"):
        write_result("demo", content, tmp_path)
    assert not list(tmp_path.iterdir())


def test_tables_of_a_benchmark_are_collected(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/demo.json").write_text(json.dumps(CONTENT), encoding="utf-8")
    assert collect(tmp_path / "runs", tmp_path / "results") == [tmp_path / "results/demo.jsonl"]
    assert read_result("demo", tmp_path / "results") == CONTENT


def test_committed_results_are_as_they_are_written(tmp_path):
    for path in FOLDER.glob("*.jsonl"):
        assert write_result(path.stem, read_result(path.stem), tmp_path).read_bytes() == path.read_bytes()


def row(name: str, seed: int, auroc: float, *, iou: float | None = 0.25) -> dict:
    pixel = {"auroc": auroc, "average_precision": None, "aupro": auroc, "iou_dataset_oracle": iou}
    metrics = {"image": {"auroc": auroc, "recall": 0.5, "false_alarm_rate": 0.0}, "pixel": pixel}
    metrics["provenance"] = {"device": "cpu"}
    return {"cell": name, "data": "screw", "seed": seed, "error": None, "note": "", "minutes": 1.0, "metrics": metrics}


def test_the_best_f1_of_pixels_follows_from_the_best_iou():
    hit, wrong, missed = 30, 60, 30
    iou, f1 = hit / (hit + wrong + missed), 2 * hit / (2 * hit + wrong + missed)
    assert value(row("r-s", 0, 0.9, iou=iou), ("pixel", "f1_oracle")) == pytest.approx(f1)
    assert value(row("r-s", 0, 0.9, iou=None), ("pixel", "f1_oracle")) is None


def test_a_table_has_means_over_seeds_and_no_empty_column():
    shown = table("screw", [row("r-s", 0, 0.9), row("r-s", 1, 0.8), row("r-u", 0, 0.7)])
    assert "|  | image AUROC | recall | false alarms | pixel AUROC | pixel F1 (oracle) | AUPRO |" in shown
    assert "| r-s | 0.850 ± 0.071 | 0.500 ± 0.000 | 0.000 ± 0.000 | 0.850 ± 0.071 | 0.400 ± 0.000 |" in shown
    assert "Seeds: 0, 1; `r-u`: 0. Minutes a run: 1.0 on a core." in shown
    assert show([]) == "-"


def test_prose_is_wrapped_and_tables_are_not():
    line = "| " + "a long cell " * 20 + "|"
    text = wrapped(f"# Title\n\none\ntwo\n- {'word ' * 40}\n  end\n\n{line}\n{line}\n")
    assert text.startswith("# Title\n\none two\n- word")
    assert text.endswith(f"end\n\n{line}\n{line}\n")
    assert all(len(part) <= 120 for part in text.splitlines() if not part.startswith("|"))


@pytest.mark.parametrize(
    ("variant", "epochs", "said"),
    [("r-u", 10, "10 (converged)"), ("r-u", 150, "150 (the rate fell)"), ("r-s", 10, "10 (the rate fell)")],
)
def test_converged_is_not_said_where_the_learning_rate_fell(variant, epochs, said):
    trained = {**row("r", 0, 0.9), "epochs": epochs, "converged": True}
    trained["metrics"]["provenance"]["variant"] = variant
    assert f"Epochs: {said}." in table("screw", [trained])
    assert f"Epochs: {epochs} (the rate fell)." in table("screw", [{**trained, "rate_fell": True}])


def test_rows_of_table_8_that_weigh_kl_otherwise_are_marked_and_not_compared():
    page = paper_tables().text()
    marked = {line.split("|")[1].split(":")[0].strip() for line in page.splitlines() if "†" in line and line[0] == "|"}
    assert marked == {"c1", "c2", "c5", "c6"}
    assert "KL 3 times for the map-shaped z of 16384 units and 491.5 times for the flattened one of 100" in " ".join(
        page.split()
    )
    assert {(low in UNMARKED, high in UNMARKED) for low, high in LIKE} == {(True, True), (False, False)}


def test_l_r_is_held_against_one_grey_level_and_not_against_a_coin():
    for data, size in (("magnetic_tile", 128), ("magnetic_tile", 256), ("mvtec_ad/screw", 256)):
        one_level, own_level, exact = grey_levels(data, size)
        assert exact < own_level <= one_level < 0.693


def test_the_lead_over_patchcore_is_shown_with_the_baseline_that_has_the_factor_model_too():
    page = " ".join(real_sets().text().split())
    assert "PatchCore and factor model, same features" in page
    assert "PaDiM at the finest stage, same features" in page
    assert "cannot be told from the default on 3 of 4, and the default is better on mvtec_ad/screw" in page
