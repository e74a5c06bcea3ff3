"""Lists of images, shards of them, and parts that count by their marker."""

import json
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from cavga.errors import DataError, ResumeError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.scale.parts import Done
from cavga.scale.score_lists import OneModel, ScoringOutput, score_shard
from cavga.scale.work_list import WHOLE, Item, Shard, items_of, shard_of
from tests.conftest import is_one_complaint, run_command
from tests.scale.conftest import keys_of, rows_of


@pytest.fixture(scope="module")
def scorer(exported_model: Path) -> OneModel:
    return OneModel(AnomalyDetector.load(exported_model, device="cpu"))


@pytest.fixture
def manifest(photographs: Path) -> Path:
    path = photographs.parent / "list.csv"
    lines = [f"line/{key},{key.partition('/')[0]}" for key in keys_of(photographs)]
    path.write_text("\n".join(["path,category", *lines, lines[0], ""]), encoding="utf-8")
    return path


def test_shards_share_out_every_image_wherever_the_folder_lies(photographs, tmp_path):
    copy = shutil.copytree(photographs, tmp_path / "elsewhere")
    shards = [Shard(i, 3) for i in range(3)]
    for folder in (photographs, copy):
        shared = [[item.key for item in items_of(str(folder)) if shard.holds(item.key)] for shard in shards]
        assert sorted(chain(*shared)) == keys_of(photographs)
        assert min(map(len, shared)) > 5
    assert [item.key for item in items_of(str(copy)) if shards[2].holds(item.key)] == shared[2]


def test_a_list_says_where_an_image_is_and_of_what_category(photographs, manifest):
    first = keys_of(photographs)[0]
    assert list(items_of(str(photographs)))[0:1] == [Item(first, str(photographs / first), "left")]
    assert list(items_of(str(manifest)))[0:1] == [Item(f"line/{first}", str(photographs / first), "left")]


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "1/0"])
def test_a_shard_is_one_of_n(text):
    with pytest.raises(UsageError, match="i/n"):
        shard_of(text)


def test_what_is_done_is_known_however_it_came():
    done, rng = Done(), np.random.default_rng(0)
    keys = [str(number) for number in rng.permutation(3000)]
    for start in range(0, 1500, 70):
        done.add(keys[start : min(start + 70, 1500)])
    assert done.has(keys).tolist() == [i < 1500 for i in range(3000)]
    assert len(done._runs) < 12


def test_parts_hold_every_image_once_and_bad_ones_apart(scorer, manifest, photographs, tmp_path):
    (photographs / "left/broken.png").write_bytes(b"no image")
    try:
        lines = manifest.read_text() + "line/left/broken.png,left\n"
        (listed := manifest.with_name("with-broken.csv")).write_text(lines)
        for number in range(2):
            score_shard(scorer, str(listed), str(tmp_path), shard=Shard(number, 2), part_size=7)
    finally:
        (photographs / "left/broken.png").unlink()
    rows, bad = rows_of(tmp_path), rows_of(tmp_path, "bad")
    assert sorted(row["path"] for row in rows) == [f"line/{key}" for key in keys_of(photographs)]
    assert [row["path"] for row in bad] == ["line/left/broken.png"]
    assert "broken.png" in bad[0]["error"]
    by_path = {row["path"]: row for row in rows}
    for prediction, key in zip(scorer.detector.predict(photographs), keys_of(photographs), strict=True):
        row = by_path[f"line/{key}"]
        assert row["score"] == pytest.approx(prediction.score, rel=1e-5)
        assert row["num_regions"] == len(row["regions"])
        assert row["category"] == key.partition("/")[0]


def test_a_part_without_marker_does_not_count_and_is_done_again(scorer, photographs, tmp_path):
    score_shard(scorer, str(photographs), str(tmp_path), shard=WHOLE, part_size=20)
    markers = sorted((tmp_path / WHOLE.name).glob("*.done"))
    assert len(markers) == 3
    markers[1].unlink()
    (tmp_path / WHOLE.name / "0123.parquet").write_bytes(b"begun and not ended")
    assert len(rows_of(tmp_path)) == 40
    summary = score_shard(scorer, str(photographs), str(tmp_path), shard=WHOLE, part_size=20)
    assert (summary.done_before, summary.counts.scored) == (40, 60)
    assert sorted(row["path"] for row in rows_of(tmp_path)) == keys_of(photographs)
    assert sorted((tmp_path / WHOLE.name).glob("*.done")) == markers


def test_new_images_of_a_list_are_added(scorer, photographs, tmp_path):
    folder = shutil.copytree(photographs, tmp_path / "line")
    score_shard(scorer, str(folder), str(tmp_path / "out"), shard=WHOLE, part_size=20)
    shutil.copy(folder / "left/000.png", folder / "left/000b.png")
    summary = score_shard(scorer, str(folder), str(tmp_path / "out"), shard=WHOLE, part_size=20)
    assert (summary.done_before, summary.counts.images) == (60, 61)
    assert sorted(row["path"] for row in rows_of(tmp_path / "out")) == keys_of(folder)


def test_an_output_is_of_one_model_and_one_number_of_shards(scorer, photographs, tmp_path):
    score_shard(scorer, str(photographs), str(tmp_path), shard=Shard(0, 2))
    with pytest.raises(UsageError, match="n = 2"):
        score_shard(scorer, str(photographs), str(tmp_path), shard=Shard(0, 3))
    other = ScoringOutput(threshold=-1.0)
    with pytest.raises(ResumeError, match="another model or threshold"):
        score_shard(scorer, str(photographs), str(tmp_path), shard=Shard(0, 2), what=other)


def test_a_damaged_part_is_named(scorer, photographs, tmp_path):
    score_shard(scorer, str(photographs), str(tmp_path), shard=WHOLE)
    (part,) = set((tmp_path / WHOLE.name).glob("*.parquet")) - set((tmp_path / WHOLE.name).glob("*.bad.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DataError, match="remove the marker"):
        score_shard(scorer, str(photographs), str(tmp_path), shard=WHOLE)


@pytest.mark.parametrize(("share", "expected"), [(None, 4), ("0.01", 4), ("0.02", 0)])
def test_few_bad_images_are_no_failure(exported_model, photographs, tmp_path, capsys, share, expected):
    (tmp_path / "list.csv").write_text(
        "\n".join(["image", *(str(photographs / key) for key in keys_of(photographs)), "no.png"])
    )
    flags = [] if share is None else ["--max-bad-share", share]
    command = ["predict", exported_model, tmp_path / "list.csv", "--output", tmp_path / "out", "--shard", "0/1", *flags]
    for _ in range(2):  # what is bad is done, and a job that is started again ends as before
        assert run_command(capsys, *command)[0] == expected
    assert len(rows_of(tmp_path / "out", "bad")) == 1


def test_without_a_shard_a_manifest_gives_lines(exported_model, manifest, photographs, tmp_path, capsys):
    code, out, _ = run_command(capsys, "predict", exported_model, manifest, "--output", tmp_path / "out", "--json")
    assert (code, json.loads(out)["scored"]) == (0, 60)
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == [f"line/{key}" for key in keys_of(photographs)]


@pytest.mark.parametrize(
    ("source", "flags", "expected"),
    [
        ("no.csv", [], "no such manifest"),
        ("empty.csv", [], "lists no images"),
        ("no-folder", ["--shard", "0/1"], "expected a folder"),
        ("line", ["--shard", "0/1", "--coco"], "leave them out"),
        ("line", ["--shard", "1"], "expected i/n"),
        ("line", ["--max-bad-share", "2"], "expected a share"),
        ("line", ["--shard", "0/1", "--gpus", "2"], "is for --engine ray"),
        ("line", ["--engine", "slurm"], "unknown engine"),
        ("ftp9://x/y", [], "expected a folder, or a URL"),
    ],
)
def test_what_is_wrong_is_one_line(exported_model, photographs, capsys, monkeypatch, source, flags, expected):
    monkeypatch.chdir(photographs.parent)
    Path("empty.csv").write_text("image,category\n")
    code, _, err = run_command(capsys, "predict", exported_model, source, "--output", "out", *flags)
    assert code in (2, 3)
    assert is_one_complaint(err)
    assert expected in err


def test_the_output_is_no_part_of_the_list(exported_model, photographs, capsys):
    code, _, err = run_command(
        capsys, "predict", exported_model, photographs, "--output", photographs / "out", "--shard", "0/1"
    )
    assert (code, "lies inside" in err) == (2, True)


def test_maps_are_written_if_asked_for(scorer, photographs, tmp_path):
    (few := photographs.parent / "few.csv").write_text("image\nline/left/000.png\n")
    score_shard(scorer, str(few), str(tmp_path / "out"), shard=WHOLE, what=ScoringOutput(maps="float32"))
    (row,) = rows_of(tmp_path / "out")
    assert (tmp_path / "out" / row["map"]).stat().st_size > 100


def test_scoring_loads_neither_torch_nor_ray(exported_model, photographs, tmp_path):
    program = (
        "import sys; from cavga.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "assert not {'torch', 'ray', 's3fs'} & set(sys.modules)"
    )
    command = ["predict", exported_model, photographs, "--output", tmp_path / "out", "--shard", "0/1"]
    assert subprocess.run([sys.executable, "-c", program, *command], check=False).returncode == 0
