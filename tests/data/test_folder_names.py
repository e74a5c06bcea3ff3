import pytest

from cavga.data.folder_names import BAD, GOOD, MASK, TEST, folders_of_split, mask_folders, meaning, says_mask


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("good OK Normal i.O. Gut bon buena conforme 良品 正常 合格 양품 no-defect good_parts ok2 良品1", GOOD),
        ("bad NG n.i.O. KO not_ok Defects Anomaly abnormal Défaut 不良 不合格 불량품 NG_images defects_v2 faulty", BAD),
        ("mask Masks Ground_Truth gt labels", MASK),
        ("test Test TESTING", TEST),
        ("camera plastic normal-light goodyear señal 2024-01-05 train", None),
    ],
)
def test_a_name_says_what_its_images_are(names, expected):
    assert {name: meaning(name) for name in names.split()} == dict.fromkeys(names.split(), expected)


def test_a_defect_may_be_called_label_but_not_mask():
    assert (says_mask("Masks"), says_mask("label")) == (True, False)


def test_splits_and_masks_are_known_in_any_case(tmp_path):
    for name in ("Train", "VAL", "validation", "Test", "Ground_Truth", "other"):
        (tmp_path / name).mkdir()
    assert [folder.name for folder in folders_of_split(tmp_path, "train")] == ["Train"]
    assert [folder.name for folder in folders_of_split(tmp_path, "calibration")] == ["VAL", "validation"]
    assert [folder.name for folder in mask_folders(tmp_path)] == ["Ground_Truth"]
