"""The tables of the paper: reported figures, what is run for them, and the files they are read in."""

import csv
import json
import re
from statistics import mean

import numpy as np
import pytest

from cavga.benchmark import estimate, resources, runner
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.runner import run_table
from cavga.benchmark.tables.reported import load_reported
from cavga.errors import TrainingError, UsageError
from tests.conftest import is_one_complaint, run_command, write_category
from tests.data.made_sets import idx, shanghaitech

SMALL = {
    "data": {"image_size": (32, 32)},
    "model": {"variant": "d-u", "weights": "none", "latent_channels": 8, "decoder_width": 8},
    "training": {"epochs": 2, "batch_size": 5, "device": "cpu"},
}
# Remembered apart from the cells, as means over the fifteen categories.
MEAN_IOU = (0.257, 0.191, 0.327, 0.093, 0.390, 0.366, 0.205, 0.414, 0.465, 0.499, 0.587)
PRINTED_OTHERWISE = {("CIFAR-10 mean", "ULSLM"): 0.698, ("CIFAR-10 mean", "CapsNet_PP"): 0.632}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with two of MVTec AD's categories."""
    folder = tmp_path_factory.mktemp("root")
    for name in ("bottle", "screw"):
        write_category(folder / "mvtec_ad" / name, num_train=6, num_good=2, num_bad=2)
    return folder


@pytest.fixture
def small_tables(monkeypatch):
    """Tables 3 and 6 with two small models on two categories that are there and one that is not."""

    def experiments(seeds, _weights):
        return [
            Experiment(name, f"mvtec_ad/{part}", preset=name.split(", ")[1], overrides=SMALL, seed=seed)
            for seed in seeds
            for part in ("bottle", "screw", "cable")
            for name in ("d-u, paper", "d-u, recommended")
        ]

    for table in ("table3", "table6"):
        monkeypatch.setitem(TABLES, table, experiments)


@pytest.fixture
def trainings(monkeypatch):
    """Cells are not trained but answered; what was asked for is listed."""
    asked = []

    def answer(experiment, _data, run, _output):
        asked.append((experiment.name, experiment.data, experiment.seed))
        run.mkdir(parents=True)
        lines = [{"milliseconds": 20.0}, {"milliseconds": 30.0}]
        (run / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        value = 0.5 + 0.01 * experiment.seed + (0.1 if experiment.part == "screw" else 0)
        counts = {"train": 6, "train_anomalous": 0, "test_normal": 2, "test_anomalous": 2, "excluded": 0}
        rule = {"threshold_rule": "conformal", "num_images": 6, "num_folds": 3, "false_alarm_rate": 0.05}
        metrics = {
            "image": {"auroc": value, "balanced_accuracy": value, "recall": 1.0, "false_alarm_rate": 0.0},
            "pixel": {"auroc": value, "iou_dataset": value, "aupro": None},
            "counts": counts,
            "provenance": {"data_sha256": "ab" * 32, "calibration": rule},
        }
        return {"metrics": metrics}

    monkeypatch.setattr(runner, "_cavga", answer)
    return asked


def read_csv(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


@pytest.mark.parametrize("table", ["table3", "table4", "table6", "table7"])
def test_reported_means_are_the_means_of_the_reported_rows(table):
    checked = 0
    for grid in load_reported(table).grids:
        for row, metric in grid.means.items():
            for column in grid.columns:
                values = [grid.figures[part, column].value for part in grid.parts if (part, column) in grid.figures]
                if metric != grid.metric or len(values) < len(grid.parts):
                    continue
                printed = PRINTED_OTHERWISE.get((row, column), grid.figures[row, column].value)
                has_three_digits = any(round(value, 2) != value for value in values)
                # Rounded, but for some of three digits, which were cut off.
                low, high = (-0.00055, 0.00095) if has_three_digits else (-0.0051, 0.0051)
                assert low <= mean(values) - printed <= high, column
                checked += 1
    assert checked >= {"table3": 11, "table4": 18, "table6": 10, "table7": 18}[table]


def test_the_means_of_table_3_are_the_ones_remembered_apart():
    (grid,) = load_reported("table3").grids
    means = [mean(grid.figures[part, column].value for part in grid.parts) for column in grid.columns]
    assert means == pytest.approx(MEAN_IOU, abs=0.00051)


def test_what_is_remembered_less_surely_is_hidden_by_default():
    def num_figures(table, **options):
        return {grid.title: len(grid.figures) for grid in load_reported(table, **options).grids}

    assert set(num_figures("table8").values()) == {0}
    assert set(num_figures("table8", shaky=True).values()) == {48}
    assert num_figures("table2") == {"MVTec AD": 3, "mSTC": 0, "LAG": 0}
    assert num_figures("table2", shaky=True) == {"MVTec AD": 4, "mSTC": 4, "LAG": 3}
    assert load_reported("textures") is None


def test_a_users_figures_replace_and_join_the_reported_ones(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("\ufefftable,row,column,value\ntable3,screw,CAVGA-D_u,.5\ntable3,mean IoU,Ours,0.61\n", "utf-8")
    (grid,) = load_reported("table3", given=path).grids
    assert (grid.figures["screw", "CAVGA-D_u"].value, grid.figures["screw", "CAVGA-D_u"].is_given) == (0.5, True)
    assert grid.figures["mean IoU", "Ours"].trust == "given in own.csv"
    assert grid.columns[-1] == "Ours"
    assert grid.figures["bottle", "CAVGA-D_u"].value == 0.30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("table,row,value\n", "expected the columns table,row,column,value, found table,row,value"),
        ("", "found none"),
        ("table,row,column,value\ntable33,screw,Ours,0.5\n", "line 2: unknown name 'table33': expected one of table3"),
        ("table,row,column,value\ntable3,screws,Ours,0.5\n", "row of table3: unknown name 'screws': .* one of screw"),
        ("table,row,column,value\ntable3,screw,Ours,51.3\n", "line 2: value '51.3': expected a share of 0 to 1"),
        ("table,row,column,value\ntable3,screw,Ours,nan\n", "value 'nan'"),
        ("table,row,column,value\ntable3,screw,,0.5\n", "column is empty"),
        ("table,row,column,value\ntable3,screw,Ours\n", "line 2: expected 4 fields"),
        ("table,row,column,value\n" + "table3,screw,Ours,0.5\n" * 2, "is there twice"),
    ],
)
def test_a_file_of_figures_that_is_wrong_is_named_with_its_line(tmp_path, capsys, text, expected):
    path = tmp_path / "own.csv"
    path.write_text(text, "utf-8")
    code, _, err = run_command(
        capsys, "benchmark", "table3", "--output", tmp_path / "out", "--data", tmp_path, "--reported", path
    )
    assert code == 2
    assert is_one_complaint(err)
    assert re.search(expected, err)
    assert not (tmp_path / "out").exists()


def test_a_file_of_figures_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_reported("table3", given=tmp_path / "none.csv")


def test_an_absent_data_set_is_named_and_the_others_are_run(small_tables, trainings, root, tmp_path, capsys):
    code, out, err = run_command(capsys, "benchmark", "table3", "--data", root, "--output", tmp_path, "--json")
    assert code == 3
    assert "1 of 3 folders are not there (mvtec_ad/cable)" in err
    assert "unpack it into mvtec_ad/<category>; nothing is downloaded for you" in err
    result = json.loads(out)
    assert len(result["rows"]) == len(trainings) == 4
    assert [item["data"] for item in result["absent"]] == ["mvtec_ad"]
    assert "mvtec_ad/cable" in (tmp_path / "table3.md").read_text("utf-8")
    assert "mvtec_ad/cable" in (tmp_path / "table3.html").read_text("utf-8")
    code, _, err = run_command(capsys, "benchmark", "table3", "--data", tmp_path, "--output", tmp_path / "other")
    assert code == 3
    assert "MVTec AD is at www.mvtec.com" in err
    assert not (tmp_path / "other").exists()


def test_an_extra_data_set_is_run_where_it_is_and_not_missed_where_it_is_not(root, tmp_path):
    experiments, absent = runner.find_experiments(
        "table3", tmp_path, data=root, selection=Selection(categories=("screw",))
    )
    assert {experiment.data for experiment in experiments} == {"mvtec_ad/screw"}
    assert absent == []
    experiments, absent = runner.find_experiments("table3", tmp_path, data=root, selection=Selection())
    assert {experiment.data for experiment in experiments} == {"mvtec_ad/bottle", "mvtec_ad/screw"}
    assert "13 of 15 folders are not there" in absent[0]["message"]


def test_a_failed_cell_is_a_row_that_says_why(small_tables, trainings, root, tmp_path, capsys, monkeypatch):
    answer = runner._cavga

    def fails(experiment, *rest):
        if experiment.part == "bottle":
            raise {"paper": TrainingError("the loss is not finite"), "recommended": RuntimeError("out of memory\n.")}[
                experiment.preset
            ]
        return answer(experiment, *rest)

    monkeypatch.setattr(runner, "_cavga", fails)
    options = ("--data", root, "--output", tmp_path, "--categories", "bottle,screw")
    code, _, err = run_command(capsys, "benchmark", "table3", *options)
    assert code == 4
    assert "left out: d-u, paper: the loss is not finite" in err
    text = (tmp_path / "table3.md").read_text("utf-8")
    assert "- d-u, recommended, mvtec_ad/bottle, seed 0: RuntimeError: out of memory\n" in text
    monkeypatch.setattr(runner, "_cavga", answer)
    assert run_command(capsys, "benchmark", "table3", *options)[0] == 0
    assert len(trainings) == 4  # two at first, and then the failed ones


def test_no_finished_cell_is_run_twice_not_even_for_another_table(small_tables, trainings, root, tmp_path):
    selection = Selection(seeds=(0, 1), categories=("bottle", "screw"))
    first = run_table("table3", tmp_path, data=root, selection=selection)
    assert len(trainings) == 8
    assert run_table("table3", tmp_path, data=root, selection=selection).rows == first.rows
    second = run_table("table6", tmp_path, data=root, selection=selection, reported=load_reported("table6"))
    assert len(trainings) == 8
    assert second.rows == first.rows
    assert "| screw | " in (tmp_path / "table6.md").read_text("utf-8")


def test_the_files_are_whole_after_every_cell(small_tables, trainings, root, tmp_path):
    seen = []

    def look(_row):
        rows = json.loads((tmp_path / "table3.json").read_text("utf-8"))["rows"]
        page = (tmp_path / "table3.html").read_text("utf-8")
        assert page.endswith("</html>\n")
        assert f"{len(rows)} of 4 experiments are finished" in page
        assert f"{len(rows)} of 4 experiments are finished" in (tmp_path / "table3.md").read_text("utf-8")
        lines = read_csv(tmp_path / "table3.csv")
        seen.append(len({(line["row"], line["column"]) for line in lines if line["source"] == "measured"} - MEANS))
        assert not list(tmp_path.glob(".*.tmp"))

    MEANS = {(row, name) for row in ("mean IoU", "mean AUROC") for name in ("d-u, paper", "d-u, recommended")}
    run_table("table3", tmp_path, data=root, reported=load_reported("table3"), on_row=look)
    assert seen == [1, 2, 3, 4]


def test_every_recalled_figure_is_marked_and_stands_beside_ours(small_tables, trainings, root, tmp_path):
    selection = Selection(seeds=(0, 1), categories=("bottle", "screw"))
    run_table("table3", tmp_path, data=root, selection=selection, reported=load_reported("table3"))
    text = (tmp_path / "table3.md").read_text("utf-8")
    screw = next(line for line in text.splitlines() if line.startswith("| screw | 0.220 †"))
    assert screw.count("†") == 11
    assert "**0.660** †" in screw
    assert "0.605 ± 0.007" in screw  # 0.60 and 0.61
    assert "- † recalled: check the PDF (arXiv:1911.08616v4)" in text
    assert "| screw | d-u, paper | 0.605 ± 0.007 | 0.420 † (CAVGA-D_u) | +0.185 |" in text
    assert "| mean IoU | d-u, paper | 0.555 ± 0.007 | 0.410 † (CAVGA-D_u) |  |" in text  # 2 of 15: no difference
    assert "mean of 2 of 15" in text
    lines = read_csv(tmp_path / "table3.csv")
    assert all(line["trust"].startswith("recalled: check the PDF") for line in lines if line["source"] == "reported")
    ours = next(line for line in lines if (line["row"], line["column"]) == ("screw", "d-u, paper"))
    assert (ours["seeds"], ours["difference"], ours["images_per_second"]) == ("0 1", "0.185", "40.0")
    assert ours["split"] == "train 6, test 2 good and 2 bad"
    assert ours["thresholds"] == "5% false alarms asked for, 3 folds of 6 good images"
    assert ours["data_sha256"] == "ab" * 32
    assert ours["code"] == resources.code_version()


def test_the_page_fetches_nothing_and_shades_by_rank(small_tables, trainings, root, tmp_path):
    run_table("table3", tmp_path, data=root, reported=load_reported("table3"))
    page = (tmp_path / "table3.html").read_text("utf-8")
    assert not re.search(r"https?://|<script|src=", page)
    assert "recalled: check the PDF" in page
    screw = re.search(r'<th scope="row">screw</th>(.*?)</tr>', page)[1]
    assert re.findall(r'--rank:([\d.]+)"><b>0.660', screw) == ["1.00"]
    assert '--rank:0.00">0.010' in screw
    assert screw.count("<td") == 13


def test_a_measured_method_with_a_reported_ones_name_stands_beside_it(trainings, root, tmp_path, monkeypatch):
    experiments = [
        Experiment("ADVAE", "mvtec_ad/screw", overrides=SMALL),
        Experiment("AVID, ours", "mvtec_ad/screw", overrides=SMALL),
    ]
    monkeypatch.setitem(TABLES, "table3", lambda seeds, weights: experiments)
    run_table("table3", tmp_path, data=root, reported=load_reported("table3"))
    values = {line["column"]: line["value"] for line in read_csv(tmp_path / "table3.csv") if line["row"] == "screw"}
    assert (values["ADVAE"], values["ADVAE (measured)"], values["AVID, ours"]) == ("0.17", "0.6", "0.6")


def test_fewer_epochs_are_said_and_kept_apart(small_tables, trainings, root, tmp_path):
    selection = Selection(categories=("screw",), epochs=1)
    cut = run_table("table3", tmp_path, data=root, selection=selection).rows
    assert {row["note"] for row in cut} == {"no Celeb-A; cut to 1 of 2 epochs", "cut to 1 of 2 epochs"}
    full = run_table("table3", tmp_path, data=root, selection=Selection(categories=("screw",), epochs=2)).rows
    assert {row["note"] for row in full} == {"no Celeb-A", ""}
    assert len(trainings) == 4
    assert "cut to 1 of 2 epochs" not in (tmp_path / "table3.md").read_text("utf-8")


def test_a_finished_cell_with_other_settings_is_not_passed_off(small_tables, trainings, root, tmp_path, monkeypatch):
    experiment = Experiment("d-u, paper", "mvtec_ad/screw", preset="paper", overrides=SMALL)
    assert runner.run_experiment(experiment, root, tmp_path)["error"] is None
    other = Experiment(experiment.name, experiment.data, preset="paper", overrides={**SMALL, "training": {"epochs": 3}})
    assert "with other settings" in runner.run_experiment(other, root, tmp_path)["error"]


def test_an_estimate_trains_one_cell_for_an_epoch_and_writes_nothing(small_tables, root, tmp_path, capsys, monkeypatch):
    real, epochs = estimate.train, []

    def train(data, run, config, **options):
        epochs.append(config.training.epochs)
        return real(data, run, config, **options)

    monkeypatch.setattr(estimate, "train", train)
    options = ("table3", "--data", root, "--output", tmp_path / "out", "--categories", "bottle,screw", "--estimate")
    code, out, err = run_command(capsys, "benchmark", *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert epochs == [1]
    assert not (tmp_path / "out").exists()
    assert len(found["cells"]) == 4
    assert found["minutes"] == pytest.approx(sum(experiment["minutes"] for experiment in found["cells"]), abs=0.06)
    assert all(experiment["minutes"] > 0 for experiment in found["cells"])


def test_an_estimate_goes_by_finished_cells_where_there_are_some(small_tables, trainings, root, tmp_path, monkeypatch):
    run_table("table3", tmp_path, data=root, selection=Selection(categories=("screw",)))
    for path in tmp_path.rglob("row.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "minutes": 30.0}))
    timing = estimate.Timing("x", "y", 1.0, 0.0, 0.0)
    monkeypatch.setattr(estimate, "_time", lambda *_: timing)
    found = estimate.estimate_table("table3", tmp_path, data=root, selection=Selection(categories=("bottle", "screw")))
    assert (found.num_finished, len(found.experiments), found.minutes) == (2, 2, 60.0)
    assert {experiment.basis for experiment in found.experiments} == {"finished"}


def test_table_2_counts_what_is_there_beside_what_is_published(root, tmp_path, capsys):
    idx(root / "MNIST/raw", num_train=20)
    shanghaitech(root / "shanghaitech")
    options = ("--data", root, "--output", tmp_path, "--datasets", "mvtec_ad,shanghaitech,MNIST")
    code, out, err = run_command(capsys, "benchmark", "table2", *options, "--json")
    assert code == 3
    assert "cable" in err
    rows = {(row["set"], row["part"]): row for row in json.loads(out)["rows"]}
    assert rows["mvtec_ad", "screw"]["here"] == {"train_normal": 6, "test_normal": 2, "test_anomalous": 2}
    assert rows["mvtec_ad", "screw"]["published"] == {"train_normal": 320, "test_normal": 41, "test_anomalous": 119}
    assert rows["mvtec_ad", "cable"]["here"] is None
    assert rows["shanghaitech", "01"]["here"]["test clips"] == 1
    assert rows["MNIST", "7"]["published"]["train_normal"] == 6265
    text = (tmp_path / "table2.md").read_text("utf-8")
    assert "| MVTec AD | screw |  |  | 6 / 320 | 2 / 41 | 2 / 119 | not as published |" in text
    assert "--shaky shows them" in text
    assert "3629" in text
    assert "train normal 3629 †, test normal 467 †, test anomalous 1258 †" in text
    assert "244875" not in text
    assert not (root / "shanghaitech/mstc").exists()  # nothing was extracted
    run_command(capsys, "benchmark", "table2", *options, "--shaky")
    assert "244875 †" in (tmp_path / "table2.md").read_text("utf-8")


def test_the_tables_of_the_paper_have_valid_experiments():
    for table, num_experiments in (("table3", 16 * 15), ("table4", 12 * 9), ("table5", 10)):
        experiments = select_experiments(table, Selection(weights="weights.pth"))
        assert len(experiments) == len({experiment.folder for experiment in experiments}) == num_experiments
        names = {(experiment.name, experiment.data, experiment.chosen) for experiment in experiments}
        for experiment in experiments:
            experiment.config()
            assert (
                experiment.features_of is None or (experiment.features_of, experiment.data, experiment.chosen) in names
            )


def test_a_baseline_brings_the_experiment_it_stands_on():
    experiments = select_experiments(
        "table3", Selection(categories=("screw",), variants=("padim",), weights="weights.pth")
    )
    assert [experiment.name for experiment in experiments] == ["r-u, recommended", "PaDiM, same features"]
    with pytest.raises(UsageError, match="unknown variant 'padin': expected one of padim"):
        select_experiments("table3", Selection(variants=("padin",)))
    with pytest.raises(UsageError, match="has no experiment"):
        select_experiments("table3", Selection(variants=("padim",), preset="paper"))


def test_weights_that_end_at_layer3_are_said_in_the_row(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "to_layer3.safetensors"
    save_file({"layer3.0.conv1.weight": np.zeros(1, np.float32)}, path)
    selection = Selection(categories=("screw",), variants=("r-u",), preset="paper", weights=str(path))
    (experiment,) = select_experiments("table3", selection)
    assert experiment.config().model.stages == (3,)
    assert "layer3" in experiment.note


def test_peak_memory_is_of_the_time_since_the_reset():
    if not resources.reset_peak_memory():
        pytest.skip("this system cannot reset the peak")
    before = resources.peak_memory_mb()
    block = np.ones(25_000_000, dtype=np.float64)  # 200 MB
    during = resources.peak_memory_mb()
    del block
    assert resources.reset_peak_memory()
    assert during - before > 150
    assert during - resources.peak_memory_mb() > 150


def test_the_help_names_every_table(capsys):
    with pytest.raises(SystemExit):
        run_command(capsys, "benchmark", "--help")
    text = "".join(capsys.readouterr().out.split())  # a line may end within a name
    assert all(table in text for table in ("table1", "table2", *TABLES))
