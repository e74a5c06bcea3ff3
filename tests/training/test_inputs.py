import csv
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.manifest import read_manifest_hashes
from cavga.errors import DataError
from cavga.evaluation.evaluate import evaluate_detector
from cavga.inference.detector import AnomalyDetector
from cavga.training.inputs import gather_training_images
from cavga.training.run_folder import write_inputs
from tests.conftest import save_image, small_config, texture, write_category


def weak_config(*, variant="r-w", seed=0, **data):
    config = small_config(variant=variant, seed=seed)
    return replace(config, data=replace(config.data, **data))


def paths(records):
    return [record.relative_path for record in records]


# --- where the labelled bad images come from ---


@pytest.mark.parametrize("variant", ["r-u", "d-u"])
def test_other_variants_take_no_bad_images(labelled, variant):
    inputs = gather_training_images(labelled, weak_config(variant=variant))
    assert (inputs.anomalous, inputs.drawn) == ((), ())
    assert not any("square" in path for path in inputs.hashes)


@pytest.mark.parametrize("variant", ["r-w", "d-w"])
def test_bad_images_in_train_are_used_and_none_is_drawn(labelled, variant):
    inputs = gather_training_images(labelled, weak_config(variant=variant))
    assert paths(inputs.anomalous) == [f"train/square/00{i}.png" for i in range(3)]
    assert inputs.drawn == ()
    assert all(path.startswith("train/good/") for path in paths(inputs.train + inputs.calibration))


def test_bad_images_of_a_manifest_are_those_of_split_train(labelled, tmp_path):
    rows = [f"{path},0,train" for path in sorted((labelled / "train/good").iterdir())]
    rows += [f"{labelled}/train/square/001.png,1,train", f"{labelled}/test/square/000.png,1,test"]
    (tmp_path / "m.csv").write_text("image,label,split\n" + "\n".join(rows), encoding="utf-8")
    inputs = gather_training_images(tmp_path / "m.csv", weak_config())
    assert [record.path.name for record in inputs.anomalous] == ["001.png"]
    assert inputs.drawn == ()


def test_without_labelled_ones_some_of_the_test_set_are_drawn_by_seed(unlabelled):
    inputs = gather_training_images(unlabelled, weak_config())
    assert len(inputs.anomalous) == 1
    assert inputs.drawn == tuple(paths(inputs.anomalous))
    assert inputs.drawn[0].startswith("test/square/")
    assert gather_training_images(unlabelled, weak_config()).drawn == inputs.drawn
    assert len({gather_training_images(unlabelled, weak_config(seed=seed)).drawn for seed in range(6)}) > 1
    assert len(gather_training_images(unlabelled, weak_config(anomalous_fraction=0.6)).drawn) == 3


def test_no_bad_images_at_all_is_one_line_that_says_where_they_go(tmp_path):
    data = write_category(tmp_path / "data", num_bad=0)
    with pytest.raises(
        DataError, match=r"no labelled bad images.*r-w.*train/<name>.*manifest.*test/<defect>"
    ) as caught:
        gather_training_images(data, weak_config())
    assert "\n" not in str(caught.value)
    gather_training_images(data, weak_config(variant="r-u"))


# --- what is wrong with them ---


def test_an_unreadable_bad_image_is_an_error_or_left_out_and_named(labelled):
    (labelled / "train/square/001.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 training images cannot be read.*square.001\.png"):
        gather_training_images(labelled, weak_config())
    gather_training_images(labelled, weak_config(variant="r-u"))  # which does not read it
    inputs = gather_training_images(labelled, weak_config(skip_bad=True))
    assert paths(inputs.anomalous) == ["train/square/000.png", "train/square/002.png"]
    assert len(inputs.left_out) == 1
    assert "001.png" in inputs.left_out[0]


def test_bad_images_that_are_all_unreadable_are_an_error_with_skip_bad_too(unlabelled):
    for path in (unlabelled / "test/square").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 1 labelled bad images can be read: .*test.square"):
        gather_training_images(unlabelled, weak_config(skip_bad=True))


@pytest.mark.parametrize("good", ["train/good/zzz.png", "validation/good/0.png"])
def test_one_content_that_is_labelled_good_and_bad_is_refused(labelled, good):
    (labelled / good).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(labelled / "train/square/002.png", labelled / good)
    with pytest.raises(DataError, match=rf"train/square/002\.png, labelled bad, .*{good}, labelled good; remove"):
        gather_training_images(labelled, weak_config())


def test_good_images_that_can_all_not_be_read_leave_nothing_to_train_on(labelled):
    for i in range(2):
        save_image(labelled / f"validation/good/{i}.png", texture(300 + i))
    for path in (labelled / "train/good").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="14 good images, 12 of them unreadable"):
        gather_training_images(labelled, weak_config(skip_bad=True))


# --- what a run writes and remembers ---


def test_masks_of_bad_training_images_are_not_needed(unlabelled, tmp_path):
    shutil.rmtree(unlabelled / "ground_truth")
    inputs = gather_training_images(unlabelled, weak_config())
    assert written(inputs, weak_config(), tmp_path / "run")[inputs.drawn[0]]["mask"] == ""


def test_drawn_images_are_left_out_of_the_evaluation_and_counted(unlabelled, run_folder, tmp_path):
    inputs = gather_training_images(unlabelled, weak_config(anomalous_fraction=0.4))
    written(inputs, weak_config(), tmp_path / "run")
    used = read_manifest_hashes(tmp_path / "run/manifest.csv")
    result = evaluate_detector(AnomalyDetector.load(run_folder), load_catalog(unlabelled), tmp_path / "out", used=used)
    assert result.metrics["counts"]["excluded"] == 2
    assert result.metrics["counts"]["test_anomalous"] == 3
    lines = (tmp_path / "out/predictions.jsonl").read_text(encoding="utf-8")
    assert not any(path in lines for path in inputs.drawn)


def test_a_draw_that_leaves_nothing_to_test_with_is_warned_of(tmp_path, caplog):
    data = write_category(tmp_path / "one", num_bad=1)
    assert len(gather_training_images(data, weak_config()).anomalous) == 1
    assert "all 1 bad test images were drawn" in caplog.text


def written(inputs, config, folder):
    """The lines of the manifest that a run leaves behind."""
    write_inputs(folder, inputs, config, identity="x")
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


# --- copies ---


def test_copies_are_one_unit_and_never_on_both_sides(tmp_path, caplog):
    for i in range(6):
        for k in range(3):
            save_image(tmp_path / f"{i}_{k}.png", texture(i))
        Image.fromarray(texture(i)).resize((96, 96)).save(tmp_path / f"{i}_large.bmp")
    inputs = gather_training_images(tmp_path, small_config("paper"))
    assert "24 good images are of 6 different photographs" in caplog.text
    sides = [{path.split("_")[0] for path in paths(records)} for records in (inputs.train, inputs.calibration)]
    assert sides[0] | sides[1] == set("012345")
    assert not sides[0] & sides[1]
    assert len(set(inputs.units)) == len(sides[0])


def test_copies_of_one_photograph_are_refused(tmp_path):
    for i in range(24):
        save_image(tmp_path / f"{i}.png", texture(0))
    with pytest.raises(DataError, match=r"24 good images, all copies of one photograph.*at least 2 different ones"):
        gather_training_images(tmp_path, small_config())


def test_calibration_images_that_are_copies_of_training_images_set_nothing(labelled, caplog):
    for i in range(3):
        save_image(labelled / f"val/good/{i}.png", texture(300 + i))
    shutil.copy(labelled / "train/good/000.png", labelled / "val/good/9.png")
    inputs = gather_training_images(labelled, small_config())
    assert paths(inputs.calibration) == [f"val/good/{i}.png" for i in range(3)]
    assert "1 calibration images are copies of training images" in caplog.text


def test_bad_images_beside_good_ones_are_not_learnt(tmp_path):
    for i in range(10):
        save_image(tmp_path / f"ok/{i}.png", texture(i))
        save_image(tmp_path / f"NG/crack/{i}.png", texture(100 + i))
    inputs = gather_training_images(tmp_path, small_config())
    assert all(path.startswith("ok/") for path in inputs.hashes)
    assert len(gather_training_images(tmp_path, weak_config()).anomalous) == 1  # those that learn from some, do


def test_what_is_passed_over_is_named(labelled):
    (labelled / "train/good/a.heic").write_bytes(b"x")
    save_image(labelled / "spare/0.png", texture(0))
    left_out = gather_training_images(labelled, small_config()).left_out
    assert [line.partition(":")[0] for line in left_out] == ["spare/0.png", "train/good/a.heic"]
