import hashlib
import os

import pytest

from cavga.data.catalog import load_catalog
from cavga.data.check import count_images
from cavga.data.manifest import read_manifest_hashes, sha256_of, write_manifest
from cavga.data.records import ImageRecord
from cavga.errors import DataError, UsageError
from tests.data.test_catalog import masks, names, rows, touch


def manifest(folder, text, *, encoding="utf-8", name="list.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.fixture
def photos(tmp_path):
    return touch(tmp_path, "a.png", "b.png", "sub/ö ä.png", "masks/b.png", "masks/b2.png")


def test_manifest_columns_defaults_and_masks(photos):
    path = manifest(
        photos,
        "image,label,mask,split,category,group,defect_type\n"
        "a.png,,,,,,\n"
        "b.png,1,masks/b.png; masks/b2.png,test,screw,clip 1,cut\n"
        "sub/ö ä.png,,,test,,,\n",
    )
    catalog = load_catalog(path)
    assert (catalog.layout, catalog.category, catalog.root) == ("manifest", "screw", photos)
    assert rows(catalog) == {
        "a.png": ("train", 0, None),
        "b.png": ("test", 1, "cut"),
        "sub/ö ä.png": ("test", None, None),
    }
    assert masks(catalog) == {"b.png": ["masks/b.png", "masks/b2.png"]}
    assert catalog.records[1].group == "clip 1"
    assert catalog.expects_masks
    assert catalog.missing == ()


def test_manifest_of_images_alone(photos):
    catalog = load_catalog(manifest(photos, "image\na.png\n\nb.png\n"))
    assert rows(catalog) == {"a.png": ("train", 0, None), "b.png": ("train", 0, None)}
    assert not catalog.expects_masks


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_manifest_of_any_editor(photos, encoding, end):
    text = "Image, Label ,split,mask\nsub\\ö ä.png,1.0,test,masks\\b.png\n,,,\na.png,0,train,\n"
    catalog = load_catalog(manifest(photos, text.replace("\n", end), encoding=encoding))
    assert rows(catalog) == {"sub/ö ä.png": ("test", 1, None), "a.png": ("train", 0, None)}
    assert masks(catalog) == {"sub/ö ä.png": ["masks/b.png"]}


def test_manifest_paths_outside_its_folder_stay_absolute(photos):
    (photos / "lists").mkdir()
    path = manifest(photos / "lists", f"image\n../a.png\n{photos}/b.png\n")
    assert [r.relative_path for r in load_catalog(path).records] == [f"{photos}/a.png", f"{photos}/b.png"]
    path = manifest(photos, f"image\n{photos}/b.png\n")
    assert [r.relative_path for r in load_catalog(path).records] == ["b.png"]


def test_bad_images_may_be_in_training(photos):
    text = "image,label,split\na.png,1,train\nb.png,0,train\n"
    assert rows(load_catalog(manifest(photos, text)))["a.png"] == ("train", 1, None)


def test_files_that_do_not_exist_are_collected(photos):
    text = "image,label,mask,split\na.png,0,,train\nc.png,0,,train\nb.png,1,masks/x.png,test\n"
    catalog = load_catalog(manifest(photos, text))
    assert list(rows(catalog)) == ["a.png", "c.png", "b.png"]
    assert names(catalog, catalog.missing) == ["c.png", "masks/x.png"]
    with pytest.raises(DataError, match=r"none of the images it lists exists, the first is .*x.png; paths are"):
        load_catalog(manifest(photos, "image\nx.png\n"))


def test_manifest_of_several_categories(photos):
    text = "image,category\na.png,screw\nb.png,bottle\nsub/x.png,bottle\nsub/ö ä.png,\n"
    path = manifest(photos, text)
    with pytest.raises(UsageError, match="several categories, choose one: bottle, screw"):
        load_catalog(path)
    with pytest.raises(UsageError, match="unknown category 'bottel': expected one of bottle, screw"):
        load_catalog(path, category="bottel")
    catalog = load_catalog(path, category="bottle")
    assert list(rows(catalog)) == ["b.png", "sub/x.png"]
    assert names(catalog, catalog.missing) == ["sub/x.png"]
    catalog = load_catalog(path, category="screw")
    assert list(rows(catalog)) == ["a.png"]
    assert catalog.missing == ()  # what another category lacks is no concern here
    with pytest.raises(UsageError, match=r"unknown category 'screw': .* names none"):
        load_catalog(manifest(photos, "image\na.png\n"), category="screw")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.png,0\nb.png,2\n", r"list.csv, line 3: label '2'; expected 0, good or ok \(normal\), 1"),
        ("path;label\na.png;good\n\nb.png;scratch\n", r"line 4: label 'scratch'; expected .* into column defect_type"),
        ("image,label\na.png,true\n", r"line 2: label 'true'"),
        (
            "image,split\na.png,dev\n",
            r"line 2: unknown split 'dev'; expected one of train, calibration, test",
        ),
        ("image,label,split\na.png,NG,val\n", r"line 2: a bad image \(label NG\) in split val; .* give it split test"),
        ("image,labels\na.png,0\n", r"line 1: unknown column 'labels'; write 'label' if that is meant"),
        ("image,image\na.png,b.png\n", r"line 1: column 'image' is there twice"),
        ("file,image\na.png,b.png\n", r"line 1: column 'file' is there twice, as image"),
        ("a.png\nb.png\n", r"line 1: no column 'image', 'path' or 'file'; the first line must name the columns"),
        ("path,verdict,score\na.png,normal,1.5\n", r"says what `cavga predict` found, not what is true"),
        ("label\n0\n", r"line 1: no column 'image'"),
        ("", r"line 1: no column 'image'"),
        ("image\n", r"list.csv: lists no images"),
        ("image,label\n,1\n", r"line 2: no image; give its path"),
        (
            "image,label\na,b.png,1\n",
            r"line 2: 3 cells, but 2 columns; put a path that has a comma in quotes",
        ),
        ('image\n"a.png"b\n', r"line 2: not valid CSV"),
    ],
)
def test_wrong_manifests_are_named_with_their_line(photos, text, message):
    with pytest.raises(DataError, match=message) as caught:
        load_catalog(manifest(photos, text))
    assert "\n" not in str(caught.value)


def test_a_manifest_in_another_encoding_is_named(photos):
    with pytest.raises(DataError, match="not UTF-8 text; save it as 'CSV UTF-8'"):
        load_catalog(manifest(photos, "image\nö.png\n", encoding="cp1252"))


def test_a_comma_in_a_path_is_quoted(tmp_path):
    touch(tmp_path, "a, b.png")
    assert list(rows(load_catalog(manifest(tmp_path, 'image\n"a, b.png"\n')))) == ["a, b.png"]


def test_written_manifests_come_back(tmp_path):
    root = touch(
        tmp_path / "Prüfling 1",
        *("train/good/a, b.png", "train/good/ö.png", "validation/good/0.png", "test/cut/0.png"),
        *("ground_truth/cut/0/0.png", "ground_truth/cut/0/1.png"),
    )
    catalog = load_catalog(root)
    hashes = {r.relative_path: sha256_of(r.path) for r in catalog.records}
    write_manifest(root / "manifest.csv", catalog.records, root, hashes)
    content = (root / "manifest.csv").read_bytes()
    assert content.startswith(b"image,label,mask,split,category,group,defect_type,sha256\n")
    assert b"\r" not in content
    assert load_catalog(root / "manifest.csv").records == catalog.records
    assert read_manifest_hashes(root / "manifest.csv") == {hashes[r.relative_path]: r.split for r in catalog.records}


def test_written_manifests_keep_unknown_labels_and_paths_elsewhere(tmp_path):
    record = ImageRecord(tmp_path / "a.png", "/elsewhere/a.png", None, "test", group="clip")
    write_manifest(tmp_path / "run/manifest.csv", [record], tmp_path / "data", {"/elsewhere/a.png": "ab"})
    text = (tmp_path / "run/manifest.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1] == f"{tmp_path.as_posix()}/a.png,,,test,,clip,,ab"


def test_hashes_of_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"manifest.csv: cannot be read: No such file"):
        read_manifest_hashes(tmp_path / "manifest.csv")
    assert read_manifest_hashes(manifest(tmp_path, "image\na.png\n")) == {}  # a user's, without hashes


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(DataError, match="b: cannot be read: No such file or directory"):
        sha256_of(tmp_path / "b")


def test_semicolons_and_tabs_separate_cells_too(photos):
    for separator in (";", "\t"):
        text = separator.join(["image", "label"]) + "\n" + separator.join(["a.png", "0"]) + "\n"
        (photos / "list.csv").write_text(text)
        assert [r.path for r in load_catalog(photos / "list.csv").records] == [photos / "a.png"]


@pytest.mark.parametrize("name", [" a.png", "b\nc.png", "a.png ", "d\re.png", "x;y.png"])
def test_a_name_is_read_as_it_is_written_where_such_a_file_is(tmp_path, name):
    (tmp_path / name).write_bytes(b"1")
    record = load_catalog(tmp_path, layout="folder").records[0] if name[-1] != " " else None
    if record is not None:
        write_manifest(tmp_path / "list.csv", [record], tmp_path, {record.relative_path: "0"})
        assert [r.path for r in load_catalog(tmp_path / "list.csv").records] == [tmp_path / name]
    (tmp_path / "mine.csv").write_text(f'image,label,mask,split\n"{name}",1,"{name}",test\n', newline="")
    (found,) = load_catalog(tmp_path / "mine.csv").records
    assert (found.path, found.mask_paths) == (tmp_path / name, (tmp_path / name,))


def test_a_name_that_is_no_utf_8_survives_a_runs_manifest(tmp_path):
    path = tmp_path / os.fsdecode(b"Gr\xfc\xdfe.png")
    path.write_bytes(b"1")
    record = load_catalog(tmp_path).records[0]
    write_manifest(tmp_path / "manifest.csv", [record], tmp_path, {record.relative_path: "0"})
    assert [r.path for r in load_catalog(tmp_path / "manifest.csv").records] == [path]


def test_a_missing_file_that_is_there_in_other_case_is_said(photos):
    (photos / "list.csv").write_text("image\nA.PNG\n")
    with pytest.raises(DataError, match=r"a\.png exists: write capital and small letters as there"):
        load_catalog(photos / "list.csv")


def listed(folder, header, lines, **options):
    """A manifest of these lines, each image of which is there."""
    touch(folder, *(line.replace(header[4], ",").split(",")[0].replace("\\", "/") for line in lines))
    return load_catalog(manifest(folder, "\n".join([header, *lines]) + "\n", **options))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("good", "bad"), [("0", "1"), ("OK", "NG"), ("good", "bad"), ("i.O.", "n.i.O."), ("normal", "Anomalous")]
)
def test_a_spreadsheet_without_a_split_tests_with_bad_and_the_last_good_images(tmp_path, encoding, sign, good, bad):
    lines = [f"{i}.png{sign}{good}{sign}1,5" if sign != "," else f"{i}.png,{good},2" for i in range(10)]
    lines += [f"ü\\x{i}.png{sign}{bad}{sign}7" for i in range(3)]
    catalog = listed(tmp_path, sign.join(["Path", "Label", "Line"]), lines, encoding=encoding)
    expected = {f"{i}.png": ("train" if i < 8 else "test", 0, None) for i in range(10)}
    assert rows(catalog) == expected | {f"ü/x{i}.png": ("test", 1, None) for i in range(3)}
    said = [f"{item.severity}: {item.problem}" for item in catalog.remarks]
    assert said == [
        "note: gives no split: 8 good images train; 2 good and 3 bad ones are the test",
        "note: columns that are not used: Line",
    ]


def test_good_images_alone_all_train_and_a_group_is_not_cut(tmp_path):
    catalog = listed(tmp_path, "file,label", [f"{i}.png,ok" for i in range(10)])
    assert len(catalog.split("train")) == 10
    lines = [f"{i}.png,ok,{i // 6}" for i in range(10)] + ["x.png,ng,9"]
    catalog = listed(tmp_path, "file,label,group", lines)
    assert [record.group for record in catalog.split("test")] == ["9"]  # the last two are of the group that trains
    assert len(catalog.split("train")) == 10


def test_what_nobody_labelled_is_not_trained_on_and_is_said(tmp_path):
    catalog = listed(tmp_path, "file,label", ["a.png,good", "b.png,", "c.png,bad"])
    assert rows(catalog)["b.png"] == ("test", None, None)
    assert count_images(catalog) | {"with_mask": 0} == {
        **dict.fromkeys(("train_anomalous", "calibration_normal", "test_normal", "with_mask"), 0),
        **dict.fromkeys(("train_normal", "test_anomalous", "test_unknown"), 1),
    }
    assert "1 images have no label and are not trained on" in [item.problem for item in catalog.remarks]
    bad_alone = listed(tmp_path, "file,label", ["a.png,", "b.png,", "c.png,bad"])  # the others are good, then
    assert [record.label for record in bad_alone.records] == [0, 0, 1]


def test_a_kind_of_defect_is_a_label_too(tmp_path):
    catalog = listed(tmp_path, "image,defect_type,", ["a.png,good", "b.png,scratch"])
    assert [record.label for record in catalog.records] == [0, 1]


def test_a_table_that_says_nothing_of_labels_is_doubted(tmp_path):
    catalog = listed(tmp_path, "image,quality", ["a.png,3"])
    assert [item.problem for item in catalog.remarks] == [
        "has no column label, so all images are taken as good (quality not used)"
    ]


@pytest.mark.parametrize(
    "name", ["photos/a/x.png", "photos\\a\\x.png", "C:\\Users\\me\\photos\\a\\x.png", "/home/me/photos/a/x.png"]
)
def test_a_path_may_begin_with_the_folder_itself_here_or_elsewhere(tmp_path, name):
    folder = touch(tmp_path / "photos", "a/x.png")
    assert [r.relative_path for r in load_catalog(manifest(folder, f"path\n{name}\n")).records] == ["a/x.png"]


def test_no_other_file_of_the_same_name_is_taken(tmp_path):
    folder = touch(tmp_path / "photos", "x.png", "a/y.png")
    catalog = load_catalog(manifest(folder, "path\nx.png\nother/photos/a/y.png\nother/x.png\n"))
    assert names(catalog, catalog.missing) == ["other/photos/a/y.png", "other/x.png"]


def test_a_table_beside_images_is_named_where_the_folder_was_given(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    manifest(tmp_path, "date,operator\n1,2\n", name="shifts.csv")
    manifest(tmp_path, "file;verdict\na.png;ng\n", name="labels.csv")
    assert [(item.path, item.problem) for item in load_catalog(tmp_path).remarks] == [
        ("labels.csv", "lists images and is not read")
    ]
