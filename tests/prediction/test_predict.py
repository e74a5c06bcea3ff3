"""What `cavga predict` writes: lines as they come, regions, maps, COCO; whole or not at all, in bounded memory."""

import gc
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.atomic_files import NotWrittenError
from cavga.calibration.thresholds import Calibration
from cavga.cli.main import main
from cavga.config.presets import make_config
from cavga.config.schema import as_dict
from cavga.errors import CavgaError, DataError, UsageError
from cavga.images.roi import Roi
from cavga.images.tiling import Tiling
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Display, Prediction
from cavga.inference.prepare import FailedImage
from cavga.prediction.map_files import grey_scale, greys, scale_text
from cavga.prediction.predict import PredictionOutputs, predict_to_folder
from cavga.rendering.heatmaps import TINT_START
from cavga.rendering.scale import LOG_ODDS_REACH, MapScale, picture_scale
from tests.conftest import run_command, save_image, texture


def squares(*places, size=32):
    """A map with a square of 4 x 4 at each (row, column), the first one the highest, on a ground of 0.1."""
    anomaly_map = np.full((size, size), 0.1, dtype=np.float32)
    for i, (row, column) in enumerate(places):
        anomaly_map[row : row + 4, column : column + 4] = 2 - i / 10
    return anomaly_map


def prediction(anomaly_map, *, image_size=(64, 96)):
    return Prediction(
        score=float(anomaly_map.max()),
        threshold=1.0,
        is_anomalous=bool(anomaly_map.max() >= 1),
        anomaly_map=anomaly_map,
        mask=anomaly_map >= 1,
        image_size=image_size,
        milliseconds=1.0,
    )


class NoEngine:
    """Thresholds, and nothing that could score."""

    image_size = (32, 32)

    def __init__(self, pixel_threshold):
        self.image_threshold, self.pixel_threshold = 1.0, pixel_threshold

    def resize(self, photograph):
        raise AssertionError

    def score(self, photographs):
        raise AssertionError


class Told(AnomalyDetector):
    """Says what it is told to of every path, without looking at it."""

    def __init__(self, make=lambda _path: prediction(squares((2, 3), (20, 20))), *, pixel_threshold=1.0, variant="r-u"):
        config = make_config("recommended", {"model": {"variant": variant, "weights": "none"}})
        super().__init__(NoEngine(pixel_threshold), {"config": as_dict(config)})
        self.make = make

    def results(self, sources, *, ahead=None):
        for path in sources:
            made = self.make(path)
            is_made = isinstance(made, Prediction)
            display = Display(picture_scale(self), self.tiling.pixel_range, self.tiling.roi)
            yield replace(made, path=path, display=display) if is_made else made


@pytest.fixture
def photographs(tmp_path):
    for name in ("0.png", "1.png", "sub/2.png"):
        save_image(tmp_path / "photographs" / name, np.zeros((64, 96, 3), dtype=np.uint8))
    return tmp_path / "photographs"


def lines_of(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


WRITTEN = ["gallery.html", "predictions.csv", "predictions.jsonl"]  # by every run


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_predicting_imports_the_base_dependencies_alone():
    check = (
        "import sys, cavga.prediction.predict, cavga.inference.detector, cavga.cli.commands.predict; "
        "print({'torch', 'scipy', 'sklearn', 'matplotlib', 'jaxtyping', 'skimage'} & set(sys.modules))"
    )
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'scipy', 'sklearn', 'jaxtyping', 'skimage'])); "
    for code in (
        check,
        block + "import cavga.prediction.predict, cavga.inference.detector, cavga.cli.commands.predict; print(set())",
    ):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


def test_a_line_has_the_regions_in_pixels_of_the_photograph(photographs, tmp_path):
    predict_to_folder(Told(), [photographs], tmp_path / "out")
    line = lines_of(tmp_path / "out")[0]
    assert line["num_regions"] == 2
    first, second = line["regions"]  # 64 x 96 from 32 x 32: twice as high, three times as wide
    assert first["box"] == [9, 4, 12, 8]
    assert first["polygon"] == [[9, 4], [21, 4], [21, 12], [9, 12]]
    assert first["area"] == 96
    assert first["score"] == 2.0
    assert second["box"] == [60, 40, 12, 8]
    assert second["score"] == pytest.approx(1.9)


def test_no_regions_is_an_empty_list_and_an_image_that_cannot_be_read_has_none(photographs, tmp_path):
    results = {"0.png": prediction(squares()), "1.png": FailedImage("1.png: is empty"), "2.png": prediction(squares())}
    summary = predict_to_folder(Told(lambda path: results[path.name]), [photographs], tmp_path / "out")
    assert (summary.num_images, summary.num_failed, summary.failed) == (3, 1, ("1.png: is empty",))
    first, failed, _ = lines_of(tmp_path / "out")
    assert (first["num_regions"], first["regions"]) == (0, [])
    assert (failed["num_regions"], failed["regions"], failed["error"]) == (None, None, "1.png: is empty")


def test_more_regions_than_are_written_are_counted(photographs, tmp_path, monkeypatch):
    dots = np.where((np.indices((32, 32)) % 2 == 0).all(axis=0), 2, 0).astype(np.float32)
    predict_to_folder(Told(lambda _path: prediction(dots)), [photographs], tmp_path / "out")
    line = lines_of(tmp_path / "out")[0]
    assert (line["num_regions"], len(line["regions"])) == (256, 100)


def test_in_the_library_regions_cost_nothing_until_they_are_asked_for(run_folder, monkeypatch):
    calls = []
    monkeypatch.setattr("cavga.inference.prediction.find_regions", lambda *arguments: calls.append(arguments) or [])
    (result,) = AnomalyDetector.load(run_folder, device="cpu").predict(np.zeros((40, 48, 3), dtype=np.uint8))
    assert not calls
    assert result.regions() == []
    assert [arguments[2] for arguments in calls] == [(40, 48)]


def test_lines_are_written_as_results_come(photographs, tmp_path):
    seen = []

    def make(_path):
        gc.collect()
        seen.append([(path.name, path.stat().st_size) for path in (tmp_path / "out").glob("*.tmp")])
        # Far more than a file's buffer holds.
        return prediction((np.indices((32, 32)) % 2 == 0).all(axis=0) * np.float32(2))

    predict_to_folder(Told(make), [photographs], tmp_path / "out")
    assert [len(files) for files in seen] == [len(WRITTEN)] * 3
    assert not any(name == "predictions.jsonl" for files in seen for name, _ in files)
    assert [max(size for _, size in files) > 5000 for files in seen] == [False, True, True]
    assert files_in(tmp_path / "out") == WRITTEN


def pictures_of(line):
    return [line["overlay"], line["map"]]


BOTH = PredictionOutputs(maps="float32", overlays=True, coco=True)


def test_a_line_names_its_pictures_even_where_two_photographs_share_a_name(photographs, tmp_path):
    save_image(photographs / "0.bmp", np.full((64, 96, 3), 255, dtype=np.uint8))
    predict_to_folder(Told(lambda _path: prediction(squares((20, 20)))), [photographs], tmp_path / "out", outputs=BOTH)
    by_path = {line["path"].removeprefix(f"{photographs.as_posix()}/"): line for line in lines_of(tmp_path / "out")}
    assert pictures_of(by_path["0.bmp"]) == ["overlays/0.png", "maps/0.tiff"]
    assert pictures_of(by_path["0.png"]) == ["overlays/0-2.png", "maps/0-2.tiff"]
    assert pictures_of(by_path["sub/2.png"]) == ["overlays/sub/2.png", "maps/sub/2.tiff"]
    for name, grey in (("0.bmp", 255), ("0.png", 0)):
        with Image.open(tmp_path / "out" / by_path[name]["overlay"]) as picture:
            assert picture.getpixel((0, 0)) == (grey, grey, grey)


def test_a_line_names_no_pictures_that_were_not_asked_for_or_could_not_be_made(photographs, tmp_path):
    predict_to_folder(Told(), [photographs], tmp_path / "out", outputs=PredictionOutputs(overlays=True))
    assert all("overlay" in line and "map" not in line for line in lines_of(tmp_path / "out"))
    failed = Told(lambda path: FailedImage(f"{path.name}: is empty"))
    predict_to_folder(failed, [photographs], tmp_path / "out", outputs=BOTH)
    assert [pictures_of(line) for line in lines_of(tmp_path / "out")] == [[None, None]] * 3
    assert files_in(tmp_path / "out") == ["coco.json", *WRITTEN]


def test_overlays_show_the_border_of_the_region_of_interest(photographs, tmp_path):
    detector = Told(lambda _path: prediction(squares()))
    detector.tiling = Tiling((32, 32), roi=Roi(10, 20, 40, 30))
    predict_to_folder(detector, [photographs], tmp_path / "out", outputs=PredictionOutputs(overlays=True))
    with Image.open(tmp_path / "out/overlays/0.png") as picture:
        is_white = (np.asarray(picture)[:64, :96] == 255).all(axis=2)
    assert is_white[19, 10:50].all()
    assert is_white[50, 10:50].all()
    assert is_white[20:50, 9].all()
    assert is_white[20:50, 50].all()
    assert is_white.sum() == 2 * 40 + 2 * 30


def test_what_an_earlier_prediction_left_goes_and_what_is_the_users_stays(photographs, tmp_path):
    output = tmp_path / "out"
    predict_to_folder(Told(), [photographs], output, outputs=BOTH)
    ours = ("overlays/0.png", "maps/0.tiff", "coco.json")
    assert set(ours) < set(files_in(output))
    for name in ("notes.txt", "overlays/mine.png", "maps/sub/mine.tiff"):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(b"mine")
    # What somebody wrote into the lines is no reason to remove files elsewhere.
    (tmp_path / "precious.png").write_bytes(b"mine")
    (output / "overlays/link").symlink_to(tmp_path)
    with (output / "predictions.jsonl").open("a") as lines:
        for name in (
            "overlays/link/precious.png",
            "overlays/../../precious.png",
            str(tmp_path / "precious.png"),
            "notes.txt",
            5,
            "",
            "overlays",
        ):
            lines.write(json.dumps({"overlay": name}) + "\n")
        lines.write("no json\n[]\n")
    predict_to_folder(Told(), [photographs / "sub"], output)
    users = ["maps/sub/mine.tiff", "notes.txt", "overlays/mine.png"]
    (output / "overlays/link").unlink()
    assert files_in(output) == sorted([*WRITTEN, *users])
    assert not (output / "overlays/sub").exists()
    assert (tmp_path / "precious.png").exists()
    (output / "coco.json").write_text('{"info": {"description": "labelled by hand"}}')
    predict_to_folder(Told(), [photographs / "sub"], output, outputs=PredictionOutputs(overlays=True))
    assert files_in(output) == sorted(["coco.json", "overlays/2.png", *WRITTEN, *users])


def test_a_stopped_run_leaves_no_lines_that_lie_and_the_next_one_clears_up(photographs, tmp_path):
    output = tmp_path / "out"
    predict_to_folder(Told(), [photographs / "sub"], output, outputs=BOTH)

    def make(path):
        if path.name == "1.png":
            raise KeyboardInterrupt
        return prediction(squares())

    with pytest.raises(KeyboardInterrupt):
        predict_to_folder(Told(make), [photographs], output, outputs=BOTH)
    assert files_in(output) == [".unfinished.jsonl", "maps/0.tiff", "overlays/0.png"]
    predict_to_folder(Told(), [photographs / "sub"], output)
    assert files_in(output) == WRITTEN
    assert sorted(path.name for path in output.iterdir()) == WRITTEN


def test_a_run_that_is_stopped_before_its_first_picture_keeps_the_earlier_one(photographs, tmp_path):
    output = tmp_path / "out"
    predict_to_folder(Told(), [photographs], output, outputs=BOTH)
    older = {name: (output / name).read_bytes() for name in files_in(output)}

    def stop(_path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_to_folder(Told(stop), [photographs], output, outputs=BOTH)
    assert {name: (output / name).read_bytes() for name in files_in(output)} == older


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("the disk is gone"), OSError(5, "Input/output error")])
def test_an_error_or_ctrl_c_half_way_keeps_the_older_files_and_leaves_nothing(photographs, tmp_path, error):
    output, outputs = tmp_path / "out", PredictionOutputs(coco=True)
    predict_to_folder(Told(), [photographs], output, outputs=outputs)
    older = {name: (output / name).read_bytes() for name in files_in(output)}
    assert list(older) == ["coco.json", *WRITTEN]

    def make(path):
        if path.name == "1.png":
            raise error
        return prediction(squares())

    with pytest.raises((KeyboardInterrupt, CavgaError)):
        predict_to_folder(Told(make), [photographs], output, outputs=outputs)
    assert {name: (output / name).read_bytes() for name in files_in(output)} == older


def test_what_is_missing_is_found_before_anything_is_scored(photographs, tmp_path):
    (tmp_path / "empty").mkdir()
    detector = Told(lambda _path: pytest.fail("scored"))
    for other, message in (("nowhere", "no such image or folder"), ("empty", "holds no images")):
        with pytest.raises(DataError, match=message):
            predict_to_folder(detector, [photographs, tmp_path / other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def folder_of(root, num_folders):
    """Folders of 25 files each, which nobody reads."""
    for i in range(num_folders):
        (root / f"{i:04d}").mkdir(parents=True)
        for j in range(25):
            (root / f"{i:04d}/{j}.png").write_bytes(b"")
    return root


@pytest.fixture
def nothing_left_by_others():
    """What earlier tests left to the garbage collector is not taken up, and counted, in the middle of this one."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_left_by_others")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    detector, outputs = Told(lambda _path: prediction(squares(size=8))), PredictionOutputs(coco=True)
    predict_to_folder(detector, [folder_of(tmp_path / "warm", 1)], tmp_path / "out", outputs=outputs)
    peaks = []
    for num_folders in (8, 40):
        root = folder_of(tmp_path / str(num_folders), num_folders)
        tracemalloc.start()
        predict_to_folder(detector, [root], tmp_path / "out", outputs=outputs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    written = sum((tmp_path / "out" / name).stat().st_size for name in files_in(tmp_path / "out"))
    assert written > 200_000, written  # and more, were it held
    assert peaks[1] < peaks[0] + 100_000, peaks


def test_no_more_results_than_a_few_are_alive(tmp_path):
    alive, most = set(), 0

    def make(path):
        nonlocal most
        result = prediction(squares())
        alive.add(path)
        weakref.finalize(result, alive.discard, path)
        most = max(most, len(alive))
        return result

    predict_to_folder(Told(make), [folder_of(tmp_path / "photographs", 4)], tmp_path / "out")
    assert 1 <= most <= 3


def test_a_million_bad_images_are_counted_and_the_first_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cavga.prediction.predict.MAX_NAMED", 5)
    detector = Told(lambda path: FailedImage(f"{path.name}: bad"))
    summary = predict_to_folder(detector, [folder_of(tmp_path / "photographs", 1)], tmp_path / "out")
    assert (summary.num_failed, len(summary.failed)) == (25, 5)
    assert len({line["error"] for line in lines_of(tmp_path / "out")}) == 25


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_not_utf8_can_be_had_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    save_image(tmp_path / "photographs" / "x.png", np.zeros((4, 4, 3), dtype=np.uint8)).rename(
        tmp_path / "photographs" / name
    )
    predict_to_folder(Told(), [tmp_path / "photographs"], tmp_path / "out", outputs=PredictionOutputs(coco=True))
    (line,) = lines_of(tmp_path / "out")
    assert line["path"].endswith(name)
    assert json.loads((tmp_path / "out/coco.json").read_bytes())["images"][0]["file_name"] == name


def test_the_coco_file_is_as_the_fields_tools_read_it(photographs, tmp_path):
    results = {
        "0.png": prediction(squares((2, 3), (20, 20))),
        "1.png": FailedImage("1.png: is empty"),
        "2.png": prediction(squares((0, 0)), image_size=(32, 32)),
    }
    detector, outputs = Told(lambda path: results[path.name]), PredictionOutputs(coco=True)
    predict_to_folder(detector, [photographs], tmp_path / "out", outputs=outputs)
    coco = json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))
    assert {type(coco[key]) for key in ("images", "annotations", "categories", "licenses")} == {list}
    assert [(category["id"], category["name"]) for category in coco["categories"]] == [
        (1, "anomaly"), (2, "below the image threshold")
    ]  # fmt: skip
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == len(coco["images"]) == 2  # the one that could not be read has no size
    assert [image["file_name"] for image in coco["images"]] == [
        line["path"].removeprefix(f"{photographs.as_posix()}/")
        for line in lines_of(tmp_path / "out")
        if not line["error"]
    ]
    assert [(image["height"], image["width"]) for image in coco["images"]] == [(64, 96), (32, 32)]
    assert [annotation["id"] for annotation in coco["annotations"]] == [1, 2, 3]
    assert [annotation["image_id"] for annotation in coco["annotations"]] == [1, 1, 2]
    for annotation in coco["annotations"]:
        image = images[annotation["image_id"]]
        (outline,) = annotation["segmentation"]
        assert len(outline) >= 6  # fewer would be taken for a box
        assert len(outline) % 2 == 0
        xs, ys = outline[::2], outline[1::2]
        assert annotation["bbox"] == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        assert 0 <= min(xs) < max(xs) <= image["width"]
        assert 0 <= min(ys) < max(ys) <= image["height"]
        assert 0 < annotation["area"] <= annotation["bbox"][2] * annotation["bbox"][3]
        assert annotation["score"] >= detector.pixel_threshold
        assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)


def test_regions_of_a_photograph_below_the_threshold_say_so_everywhere(photographs, tmp_path, capsys):
    results = {f"{i}.png": prediction(squares((2, 3))) for i in range(2)}
    results["1.png"] = replace(results["1.png"], score=5.0)
    results["2.png"] = replace(prediction(squares()), score=9.0)
    detector, outputs = Told(lambda path: results[path.name]), PredictionOutputs(coco=True)
    summary = predict_to_folder(detector, [photographs], tmp_path / "out", threshold=4.0, outputs=outputs)
    lines = lines_of(tmp_path / "out")
    assert [line["is_anomalous"] for line in lines] == [False, True, True]
    assert [[region["below_image_threshold"] for region in line["regions"]] for line in lines] == [[True], [False], []]
    coco = json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [2, 1]
    assert (summary.num_below, summary.num_without_place) == (1, 1)
    assert [(one.score, one.is_anomalous) for one in summary.highest] == [(9.0, True), (5.0, True), (2.0, False)]


def test_a_p_value_stands_in_every_line_and_the_command_says_the_highest_in_words(
    run_folder, category, capsys, tmp_path
):
    code, out, _ = run_command(capsys, "predict", run_folder, category / "test", "--output", tmp_path / "out")
    assert code == 0
    assert out.count("anomalous, score") == 3
    assert "higher than all 12 good ones" in out
    detector = AnomalyDetector.load(run_folder, device="cpu")
    good = detector.description["calibration"]["scores"]
    for line, found in zip(lines_of(tmp_path / "out"), detector.predict(category / "test"), strict=True):
        as_high = sum(score >= float(f"{line['score']:.6g}") for score in good)
        assert line["p_value"] == found.p_value == (1 + as_high) / 13


def test_a_coco_file_without_regions_is_still_one(photographs, tmp_path):
    detector = Told(lambda _path: prediction(squares()))
    predict_to_folder(detector, [photographs], tmp_path / "out", outputs=PredictionOutputs(coco=True))
    coco = json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))
    assert (len(coco["images"]), coco["annotations"]) == (3, [])


def test_16_bit_maps_are_on_the_models_scale_and_say_which(photographs, tmp_path):
    detector, outputs = Told(), PredictionOutputs(maps="uint16")
    predict_to_folder(detector, [photographs], tmp_path / "out", outputs=outputs)
    with Image.open(tmp_path / "out/maps/sub/2.tiff") as picture:
        assert (picture.mode, picture.size) == ("I;16", (96, 64))
        greys = np.asarray(picture).astype(np.float64)
        said = json.loads(picture.tag_v2[270])
    assert (said["minimum"], said["maximum"], said["threshold"]) == (0.0, 2.0, 1.0)
    predict_to_folder(detector, [photographs], tmp_path / "raw", outputs=PredictionOutputs(maps="float32"))
    with Image.open(tmp_path / "raw/maps/sub/2.tiff") as picture:
        raw = np.asarray(picture)
    assert raw.dtype == np.float32
    values = said["minimum"] + greys / 65535 * (said["maximum"] - said["minimum"])
    np.testing.assert_allclose(values, raw, atol=2 / 65535)


def test_the_threshold_lies_in_the_middle_of_the_greys_and_what_is_beyond_them_is_clipped():
    for threshold in (0.1, 0.5, 1.0, 37.3):
        scale = MapScale(float(np.float32(threshold)), float(np.float32(threshold)))
        at = np.float32(threshold)
        values = np.array([[-1, 0, np.nextafter(at, np.float32(0)), at, 2 * at, 9 * at, np.nan]], dtype=np.float32)
        assert greys(values, scale).tolist() == [[0, 0, 32767, 32768, 65535, 65535, 65535]]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size")
@pytest.mark.parametrize("kind", ["map", "overlay"])
def test_a_picture_that_does_not_fit_on_the_disk_is_one_line_that_names_it(tmp_path, kind):
    # The limit is of a file's size: like a full disk it stops a write half way, and needs no disk.
    write = {
        "map": "from cavga.prediction.map_files import save_map; save_map(Path('0.tiff'), noise, None)",
        "overlay": "from cavga.prediction.predict import save_picture; save_picture(Path('0.png'), picture)",
    }[kind]
    code = (
        "import resource, numpy as np; from pathlib import Path; from cavga.errors import CavgaError\n"
        "noise = np.random.default_rng(0).random((300, 300), np.float32)\n"
        "picture = noise.view(np.uint8).reshape(300, 400, 3)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try:\n    {write}\nexcept CavgaError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    name = {"map": "0.tiff", "overlay": "0.png"}[kind]
    assert done.stdout == f"cannot write {name}: File too large; free space or choose another place\n"
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_a_map_of_log_odds_has_a_scale_of_its_own():
    scale = grey_scale(Told(variant="r-s", pixel_threshold=-1.5))
    assert scale == MapScale(-1.5, LOG_ODDS_REACH)
    assert json.loads(scale_text(scale))["minimum"] == -9.5
    at = np.array([[-9.5, np.nextafter(np.float32(-1.5), np.float32(-2)), -1.5, 6.5]], dtype=np.float32)
    assert greys(at, scale).tolist() == [[0, 32767, 32768, 65535]]


def test_pictures_have_one_scale_a_model_from_what_set_its_thresholds():
    assert picture_scale(Told(pixel_threshold=0.7)) == MapScale(0.7, 0.7)
    assert picture_scale(AnomalyDetector(NoEngine(0.7), {"variant": "ae_l2"})) == MapScale(0.7, 0.7)  # a baseline
    detector = Told(variant="r-s", pixel_threshold=-1.0)
    calibration = Calibration("conformal", 3, 1, 0.1, 0.1, 0.1, -1.5, -1.0, -9.0, -1.5, scores=(-9.0, -2.25, -1.5))
    detector.description["calibration"] = calibration.as_dict()
    scale = picture_scale(detector)
    assert (scale.minimum, scale.maximum) == (-3.5, 1.5)
    # The hottest hundredth of a typical good image is where the tint begins, whatever the extremes.
    assert scale.shares(np.array([-2.25], np.float32)) == TINT_START
    for other in ({"image_score": "class"}, {"scores": (), "score_min": -0.5, "score_max": -0.5}):
        detector.description["calibration"] = {**calibration.as_dict(), **other}
        assert picture_scale(detector) == MapScale(-1.0, LOG_ODDS_REACH)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("inf"), float("nan")])
def test_a_threshold_that_gives_no_scale_is_refused_before_anything_is_written(photographs, tmp_path, threshold):
    detector = Told(pixel_threshold=threshold)
    with pytest.raises(UsageError, match="use --maps float32"):
        predict_to_folder(detector, [photographs], tmp_path / "out", outputs=PredictionOutputs(maps="uint16"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="expected one of float32, uint16"):
        replace(PredictionOutputs(), maps="float23")


def test_the_command_writes_what_its_flags_say(run_folder, tmp_path, capsys):
    for i in range(2):
        save_image(tmp_path / f"photographs/{i}.png", texture(300 + i))
    arguments = ["predict", str(run_folder), str(tmp_path / "photographs"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--maps", "uint16", "--overlays", "--coco", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    pictures = [f"{kind}/{i}.{suffix}" for kind, suffix in (("maps", "tiff"), ("overlays", "png")) for i in range(2)]
    assert files_in(tmp_path / "out") == sorted(["coco.json", *WRITTEN, *pictures])
    with Image.open(tmp_path / "out/maps/0.tiff") as picture:
        assert (picture.mode, picture.size) == ("I;16", (48, 48))
    assert all(line["num_regions"] == len(line["regions"]) for line in lines_of(tmp_path / "out"))
    assert main([*arguments, "--maps", "float16"]) == 2
    error = capsys.readouterr().err
    assert "expected one of float32, uint16" in error
    assert len(error.splitlines()) == 1


def test_a_picture_that_cannot_be_written_is_its_lines_error_and_the_rest_is_done(
    run_folder, category, capsys, tmp_path
):
    photographs = tmp_path / "photographs"
    shutil.copytree(category / "test/good", photographs)
    longest = "n" * 251
    (photographs / "000.png").rename(photographs / f"{longest}.png")
    (tmp_path / "p/overlays/001.png").mkdir(parents=True)
    arguments = ("predict", run_folder, photographs, "--output", tmp_path / "p", "--overlays", "--maps", "--json")
    for _ in range(2):  # and again, over what it has written itself
        code, out, err = run_command(capsys, *arguments)
        assert code == 4
        assert {key: json.loads(out)[key] for key in ("images", "failed", "without_picture")} == {
            "images": 4, "failed": 0, "without_picture": 2,
        }  # fmt: skip
        assert "File name too long" in err
        assert "there is a folder" in err
    lines = {Path(line["path"]).stem: line for line in lines_of(tmp_path / "p")}
    assert all(line["score"] is not None for line in lines.values())
    assert (lines[longest]["map"], lines[longest]["overlay"]) == (None, f"overlays/{longest}.png")
    assert (lines["001"]["map"], lines["001"]["overlay"]) == ("maps/001.tiff", None)
    assert "File name too long" in lines[longest]["error"]
    assert lines["002"]["error"] is None
    assert (tmp_path / "p/overlays/001.png").is_dir()
    assert sorted(path.name for path in (tmp_path / "p/maps").iterdir()) == ["001.tiff", "002.tiff", "003.tiff"]


def test_a_photograph_that_goes_or_changes_between_score_and_overlay(photographs, tmp_path):
    def make(path):
        if path.name == "0.png":
            path.unlink()
        elif path.name == "1.png":
            save_image(path, np.zeros((7, 9, 3), dtype=np.uint8))
        return prediction(squares((2, 3)))

    summary = predict_to_folder(Told(make), [photographs], tmp_path / "out", outputs=PredictionOutputs(overlays=True))
    assert (summary.num_images, summary.num_without_picture) == (3, 2)
    assert "does not exist" in summary.failed[0]
    assert "was changed after it was scored" in summary.failed[1]


def test_a_full_disk_ends_it_at_once(photographs, tmp_path, monkeypatch):
    def full(*_arguments):
        raise NotWrittenError("cannot write: No space left", is_of_the_disk=True)

    monkeypatch.setattr("cavga.prediction.predict.save_map", full)
    with pytest.raises(NotWrittenError):
        predict_to_folder(Told(), [photographs], tmp_path / "out", outputs=PredictionOutputs(maps="float32"))
    assert not (tmp_path / "out/predictions.jsonl").exists()


def test_files_that_are_passed_over_are_counted_and_named(run_folder, category, capsys, tmp_path):
    photographs = tmp_path / "photographs"
    shutil.copytree(category / "test/good", photographs)
    (photographs / "new.heic").write_bytes(b"x")
    (photographs / "b.psd").write_bytes(b"x")
    code, out, _ = run_command(capsys, "predict", run_folder, photographs, "--output", tmp_path / "p")
    assert code == 0
    assert "2 other files were not read: " in out
    assert "new.heic is a HEIC photograph" in out
