from dataclasses import replace

from cavga.data.manifest import sha256_of
from cavga.training.inputs import gather_training_images
from cavga.training.run_folder import fingerprint, provenance
from tests.conftest import save_image, texture
from tests.training.test_inputs import weak_config, written


def test_the_manifest_lists_bad_images_with_label_1_and_split_train(labelled, unlabelled, tmp_path):
    rows = written(gather_training_images(labelled, weak_config()), weak_config(), tmp_path / "a")
    bad = {path: row for path, row in rows.items() if row["label"] == "1"}
    assert list(bad) == [f"train/square/00{i}.png" for i in range(3)]
    assert {(row["split"], row["defect_type"]) for row in bad.values()} == {("train", "square")}
    assert bad["train/square/001.png"]["sha256"] == sha256_of(labelled / "train/square/001.png")
    assert len(rows) == 12 + 3

    inputs = gather_training_images(unlabelled, weak_config())
    (row,) = (row for row in written(inputs, weak_config(), tmp_path / "b").values() if row["label"] == "1")
    mask = row["image"].replace("test", "ground_truth").replace(".png", "_mask.png")
    assert (row["image"], row["split"], row["mask"]) == (inputs.drawn[0], "train", mask)


def test_bad_images_are_part_of_what_identifies_a_run(labelled):
    config = weak_config()
    before = gather_training_images(labelled, config)
    assert before.content_hash() != replace(before, anomalous=()).content_hash()
    save_image(labelled / "train/square/000.png", texture(999))
    after = gather_training_images(labelled, config)
    assert after.content_hash() != before.content_hash()
    assert fingerprint(after, config) != fingerprint(before, config)


def test_provenance_counts_bad_images_and_names_those_drawn(labelled, unlabelled):
    origin = provenance(gather_training_images(labelled, weak_config()), weak_config(), device="cpu", seconds=1.0)
    assert (origin["train"], origin["train_anomalous"], origin["drawn"]) == (12, 3, [])
    inputs = gather_training_images(unlabelled, weak_config())
    origin = provenance(inputs, weak_config(), device="cpu", seconds=1.0)
    assert (origin["train_anomalous"], origin["drawn"]) == (1, list(inputs.drawn))
