"""An evaluation of other data never replaces an earlier one."""

import json
import shutil

import pytest

import cavga
from cavga.cli.main import main
from cavga.evaluation.compare import compare_evaluations


@pytest.fixture
def other(category, tmp_path):
    """The same photographs but one, elsewhere: other data."""
    copy = tmp_path / "elsewhere" / category.name
    shutil.copytree(category, copy)
    sorted((copy / "test/good").iterdir())[0].unlink()
    return copy


@pytest.fixture
def run_copy(exported_run, tmp_path):
    shutil.copytree(exported_run, tmp_path / "run", ignore=shutil.ignore_patterns("metrics.json", "evaluations"))
    return tmp_path / "run"


def test_the_first_evaluation_stays_and_the_second_is_beside_it(run_copy, category, other, capsys):
    cavga.evaluate(run_copy, category, device="cpu")
    first = (run_copy / "metrics.json").read_bytes()
    assert main(["evaluate", str(run_copy), str(other), "--device", "cpu"]) == 0
    folder = run_copy / "evaluations" / category.name
    assert f"report: {folder / 'report.html'} ({run_copy} keeps its results of other data)" in capsys.readouterr().out
    assert (run_copy / "metrics.json").read_bytes() == first
    assert (folder / "metrics.json").is_file()
    assert compare_evaluations(run_copy, folder)["images"]["common"] > 0


def test_the_same_data_is_replaced_wherever_it_lies_now(run_copy, category, tmp_path):
    cavga.evaluate(run_copy, category, device="cpu")
    shutil.copytree(category, tmp_path / "moved")
    assert cavga.evaluate(run_copy, tmp_path / "moved", device="cpu").folder == run_copy
    assert not (run_copy / "evaluations").exists()


def test_two_other_sets_of_one_name_have_a_folder_each(run_copy, category, other, tmp_path):
    cavga.evaluate(run_copy, category, device="cpu")
    cavga.evaluate(run_copy, other, device="cpu")
    third = tmp_path / "third" / category.name
    shutil.copytree(other, third)
    sorted((third / "test/good").iterdir())[0].unlink()
    found = cavga.evaluate(run_copy, third, device="cpu")
    assert found.folder == run_copy / "evaluations" / f"{category.name}-2"
    assert cavga.evaluate(run_copy, other, device="cpu").folder == run_copy / "evaluations" / category.name


def test_an_evaluation_that_does_not_say_its_data_stays(run_copy, category):
    cavga.evaluate(run_copy, category, device="cpu")
    metrics = json.loads((run_copy / "metrics.json").read_text())
    del metrics["provenance"]["evaluated"]
    (run_copy / "metrics.json").write_text(json.dumps(metrics))
    assert cavga.evaluate(run_copy, category, device="cpu").folder == run_copy / "evaluations" / category.name


def test_a_self_test_of_other_data_is_beside_the_first(run_copy, category, other):
    cavga.self_test(run_copy, category, max_made=8, device="cpu")
    first = (run_copy / "self_test.json").read_bytes()
    assert cavga.self_test(run_copy, other, max_made=8, device="cpu").folder == run_copy / "evaluations" / category.name
    assert (run_copy / "self_test.json").read_bytes() == first


def test_no_path_of_the_machine_is_in_the_results(run_copy, category, tmp_path):
    cavga.evaluate(run_copy, category, device="cpu")
    assert str(category.parent) not in (run_copy / "metrics.json").read_text()
    assert str(category.parent) not in (run_copy / "report.html").read_text()
