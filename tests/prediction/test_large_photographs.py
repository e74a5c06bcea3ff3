"""Tiles and regions of interest from training to prediction, with models that train in a second."""

import base64
import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import cavga
from cavga.config.presets import make_config
from cavga.errors import DataError, ResumeError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.self_test import self_test
from cavga.exporting import export as export_run_module
from cavga.exporting.export import export_run
from cavga.images.decode import read_image
from cavga.images.roi import Roi
from cavga.images.tiling import Tiling
from cavga.inference.torch_engine import TorchEngine
from cavga.training import loop as training
from cavga.training.train import train
from tests.conftest import AfterEachStep, run_command, save_image, without_shape_checks

TILE = 128


SIZE = (224, 320)  # of a photograph: two rows of three tiles
NUM_TRAIN = 6


def config_of(image_size=64, variant="r-u", **data):
    return make_config(
        "recommended",
        {
            "data": {"image_size": image_size, **data},
            "model": {"variant": variant, "weights": "none", "latent_channels": 8, "decoder_width": 8},
            "loss": {"adversarial_weight": 0.0},
            "training": {"epochs": 1, "batch_size": 8, "device": "cpu"},
        },
    )


def surface(height, width, seed):
    """A fine grey texture without a beginning or an end."""
    rng = np.random.default_rng(seed)
    small = rng.integers(100, 150, (height // 4 + 1, width // 4 + 1), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(small).resize((width + 4, height + 4), Image.Resampling.BICUBIC))
    return np.repeat(grey[:height, :width, None], 3, axis=2)


def scratched(photograph, x, y, length=15, width=3):
    """With a bright scratch whose upper left end is at x, y."""
    result = photograph.copy()
    for i in range(length):
        result[y + i : y + i + width, x + i : x + i + width] = 235
    return result


def write_photographs(root, *, size=SIZE, num_train=NUM_TRAIN, where=(150, 100)):
    """Good ones to train on and to test on, and scratched ones with their masks."""
    for i in range(num_train):
        save_image(root / f"train/good/{i:03d}.png", surface(*size, i))
    for i in range(3):
        save_image(root / f"test/good/{i:03d}.png", surface(*size, 100 + i))
        save_image(root / f"test/scratch/{i:03d}.png", scratched(surface(*size, 200 + i), *where))
        mask = scratched(np.zeros((*size, 3), np.uint8), *where)[..., 0]
        save_image(root / f"ground_truth/scratch/{i:03d}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("data") / "sheet")


@pytest.fixture(scope="module")
def tiled(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("runs") / "tiled", config_of(tile=TILE))


def peak_of(prediction):
    """Where the map is highest, as x and y of the photograph."""
    y, x = np.unravel_index(int(prediction.anomaly_map.argmax()), prediction.anomaly_map.shape)
    height, width = prediction.anomaly_map.shape
    return x / width * prediction.image_size[1], y / height * prediction.image_size[0]


def description_of(run):
    return json.loads((run / "model.json").read_text())


# --- tiles ---


def test_a_small_scratch_in_a_large_photograph_is_found_with_tiles_and_lost_without(data, tiled, tmp_path):
    good = surface(3000, 4000, 300)
    bad = scratched(good, 2710, 1830)
    whole = train(data, tmp_path / "whole", config_of())
    (found,) = cavga.AnomalyDetector.load(tiled, device="cpu").predict(bad)
    assert found.anomaly_map.shape == found.mask.shape == (1500, 2000)
    assert np.hypot(*np.subtract(peak_of(found), (2718, 1838))) < 20
    elsewhere = found.anomaly_map.copy()
    elsewhere[890:950, 1330:1390] = 0
    assert found.anomaly_map.max() > 1.2 * elsewhere.max()
    before, after = cavga.AnomalyDetector.load(whole, device="cpu").predict([good, bad])
    assert after.score < 1.05 * before.score
    assert after.anomaly_map.max() < 1.05 * before.anomaly_map.max()


def test_a_defect_across_a_seam_scores_as_in_the_middle_of_a_tile(tmp_path):
    period = surface(96, 96, 0)  # so that it has the same surroundings in both places
    for i in range(4):
        save_image(tmp_path / f"data/{i}.png", np.tile(np.roll(period, 7 * i, axis=(0, 1)), (3, 5, 1)))
    detector = cavga.AnomalyDetector.load(
        train(tmp_path / "data", tmp_path / "run", config_of(128, tile=256)), device="cpu"
    )
    photograph = np.tile(period, (3, 5, 1))
    # Tiles of 256 start at 0, 192 and 224 across: at 216 a scratch lies in the first two, at 120 in the first alone.
    middle, seam = (next(detector.predict(scratched(photograph, x, 90))) for x in (120, 216))
    assert seam.score == pytest.approx(middle.score, rel=0.05)
    assert seam.anomaly_map.max() == pytest.approx(middle.anomaly_map.max(), rel=0.05)
    assert np.hypot(*np.subtract(peak_of(seam), (224, 98))) < 12


def test_thresholds_and_names_are_of_whole_photographs(tiled):
    description = description_of(tiled)
    origin, calibration = description["provenance"], description["calibration"]
    assert (origin["train"], origin["train_tiles"]) == (NUM_TRAIN, NUM_TRAIN * 2 * 3)
    assert (calibration["num_images"], calibration["num_folds"]) == (NUM_TRAIN, 5)
    assert {item["path"] for item in description["suspicious_training_images"]} <= {
        f"train/good/{i:03d}.png" for i in range(NUM_TRAIN)
    }
    assert description["training_decisions"]["num_good"] == NUM_TRAIN
    assert (description["config"]["data"]["tile"], description["preprocessing"]["tile"]) == (TILE, TILE)


def test_evaluation_overlays_and_self_test_take_the_blended_map(data, tiled, tmp_path):
    result = evaluate(tiled, data, tmp_path / "out")
    assert not result.problems
    assert result.metrics["image"]["auroc"] == 1.0
    assert result.metrics["pixel"]["auroc"] > 0.9
    assert result.metrics["pixel"]["resolution"] == [112, 160]
    from cavga.prediction.predict import PredictionOutputs, predict_to_folder

    detector = cavga.AnomalyDetector.load(tiled, device="cpu")
    outputs = PredictionOutputs(maps="float32", overlays=True)
    predict_to_folder(detector, [data / "test/scratch"], tmp_path / "p", outputs=outputs)
    height, width, _ = read_image(tmp_path / "p/overlays/000.png").shape
    assert width == SIZE[1]
    assert height > SIZE[0]  # the caption below
    with Image.open(tmp_path / "p/maps/000.tiff") as tiff:
        assert tiff.size == SIZE[::-1]
    assert self_test(tiled, data, tmp_path / "self", max_made=9, device="cpu").result["counts"]["made"] > 0


@pytest.mark.parametrize("variant", ["r-u", "r-s"])
@pytest.mark.parametrize("prior", ["aggregated", "by_position"])
def test_every_way_to_thresholds_keeps_the_tiles_of_a_photograph_together(
    variant, prior, data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 5)
    save_image(tmp_path / "data/train/dent/0.png", surface(*SIZE, 900))
    shutil.copytree(data / "train/good", tmp_path / "data/train/good")
    model = {"prior": prior, "train_encoder": False, "latent": "whitened"}
    config = make_config(
        "recommended",
        {"data": {"image_size": 64, "tile": TILE}, "training": {"epochs": 1, "device": "cpu"}},
        {"model": {"variant": variant, "weights": "none", "latent_channels": 8, "decoder_width": 8, **model}},
    )
    description = description_of(train(tmp_path / "data", tmp_path / "run", config))
    assert description["calibration"]["num_images"] == NUM_TRAIN
    assert description["provenance"]["train_anomalous"] == 0
    assert ("1 images labelled bad are not used" in caplog.text) == (variant == "r-s")
    (good,) = cavga.AnomalyDetector.load(tmp_path / "run", device="cpu").predict(surface(*SIZE, 901))
    (bad,) = cavga.AnomalyDetector.load(tmp_path / "run", device="cpu").predict(scratched(surface(*SIZE, 901), 90, 150))
    assert bad.anomaly_map.max() > good.anomaly_map.max()


def test_made_anomalies_are_made_on_tiles(data, tmp_path):
    run = train(data, tmp_path / "run", config_of(variant="r-s", tile=TILE))
    assert description_of(run)["provenance"]["train_tiles"] == (NUM_TRAIN - 1) * 6  # one is held out, whole
    (result,) = cavga.AnomalyDetector.load(run, device="cpu").predict(surface(*SIZE, 0))
    assert result.anomaly_map.shape == (112, 160)


def test_the_same_run_again_and_one_that_was_interrupted_end_with_the_same_bits(data, tiled, tmp_path, monkeypatch):
    again = train(data, tmp_path / "again", config_of(tile=TILE))
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    steps = []

    def interrupt(epochs):
        steps.append(epochs)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", config_of(tile=TILE), progress=AfterEachStep(interrupt))
    with pytest.raises(ResumeError):
        train(data, tmp_path / "stopped", config_of(tile=2 * TILE), resume=True)
    resumed = train(data, tmp_path / "stopped", config_of(tile=TILE), resume=True)
    expected = (tiled / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == expected
    assert (resumed / "model.safetensors").read_bytes() == expected


def test_an_exported_model_gives_what_pytorch_gives(data, tiled, tmp_path):
    with without_shape_checks():
        check = export_run(tiled, tmp_path / "model.onnx").check
    assert (check.num_photographs, check.sizes[0]) == (7, (TILE, TILE))  # on tiles, not on whole photographs
    exported = cavga.AnomalyDetector.load(tmp_path / "model.onnx")
    paths = sorted((data / "test").rglob("*.png"))
    in_torch = cavga.AnomalyDetector.load_in_torch(tiled, device="cpu")
    pairs = zip(exported.predict(paths), in_torch.predict(paths), strict=True)
    for one, other in pairs:
        assert one.score == pytest.approx(other.score, rel=1e-3)
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, rtol=1e-3, atol=1e-3)
        assert (one.mask != other.mask).mean() < 1e-3


def test_profile_says_how_many_tiles_it_has_timed(data, tiled, capsys):
    flags = ("--repeats", 1, "--batch-sizes", 2, "--device", "cpu")
    code, out, _ = run_command(capsys, "profile", tiled, data / "test/good", *flags)
    assert (code, f"3 photographs of yours, 6 tiles of {TILE} px each" in out) == (0, True)
    assert "tiles/s" in out


def test_what_checks_and_measures_an_export_is_what_the_model_sees(data, tiled):
    tiles = list(export_run_module._seen(tiled, data, Tiling((64, 64), tile=TILE), 18))
    assert len(tiles) == 18
    assert {tile.shape for tile in tiles} == {(TILE, TILE, 3)}
    corners = [surface(*SIZE, i)[y : y + TILE, x : x + TILE] for i in range(NUM_TRAIN) for y, x in
               ((y, x) for y in (0, 96) for x in (0, 96, 192))]  # fmt: skip
    places = [next(i for i, corner in enumerate(corners) if (corner == tile).all()) for tile in tiles]
    assert len(set(places)) == 18  # three of every photograph, and all six places of a tile
    assert {place // 6 for place in places} == set(range(NUM_TRAIN))
    assert {place % 6 for place in places} == set(range(6))
    assert len(list(export_run_module._seen(tiled, data, Tiling((64, 64), tile=TILE), 64))) == 6 * NUM_TRAIN
    region = Tiling((64, 64), roi=Roi(60, 20, 100, 50))
    assert {part.shape for part in export_run_module._seen(tiled, data, region, 4)} == {(50, 100, 3)}
    whole = list(export_run_module._seen(tiled, data, Tiling((64, 64)), 4))
    assert (whole[0] == surface(*SIZE, 0)).all()


# --- a region of interest ---


@pytest.fixture(scope="module")
def roi_mask(tmp_path_factory):
    mask = np.zeros(SIZE, np.uint8)
    mask[20:180, 60:220] = 1
    mask[20:70, 60:110] = 0
    return save_image(tmp_path_factory.mktemp("roi") / "mask.png", mask)


@pytest.mark.parametrize("tile", [None, TILE])
@pytest.mark.parametrize("shape", ["rectangle", "mask"])
def test_a_scratch_inside_is_found_and_one_outside_is_ignored(shape, tile, data, roi_mask, tmp_path):
    roi = "60,20,160,160" if shape == "rectangle" else str(roi_mask)
    run = train(data, tmp_path / "run", config_of(128, roi=roi, tile=tile))
    roi_mask_copy = run / "roi.png"
    assert roi_mask_copy.is_file() == (shape == "mask")
    detector = cavga.AnomalyDetector.load(run, device="cpu")
    good = surface(*SIZE, 500)
    outside = scratched(good, 260, 190)
    if shape == "mask":
        outside = scratched(outside, 70, 30)  # in the rectangle round the mask
    inside = scratched(outside, 150, 110)
    plain, ignored, found = detector.predict([good, outside, inside])
    assert ignored.score == pytest.approx(plain.score, rel=1e-5)
    np.testing.assert_allclose(ignored.anomaly_map, plain.anomaly_map, rtol=1e-4, atol=1e-4)
    assert found.score > 1.3 * plain.score
    assert np.hypot(*np.subtract(peak_of(found), (158, 118))) < 16
    below, right = (round(part * side) for part, side in zip((185 / 224, 225 / 320), found.mask.shape, strict=True))
    assert not found.anomaly_map[below:].any()
    assert not found.anomaly_map[:, right:].any()
    assert not found.mask[below:].any()
    assert not found.mask[:, right:].any()


def test_a_run_needs_no_mask_file_and_resumes_with_a_copy_of_it(data, roi_mask, tmp_path):
    mask = tmp_path / "mask.png"
    shutil.copy(roi_mask, mask)
    config = config_of(roi=str(mask))
    run = train(data, tmp_path / "run", config)
    photographs = sorted((data / "test").rglob("*.png"))
    expected = [p.score for p in cavga.AnomalyDetector.load(run, device="cpu").predict(photographs)]
    shutil.move(run, tmp_path / "elsewhere")
    mask.rename(tmp_path / "copy.png")
    moved = cavga.AnomalyDetector.load(tmp_path / "elsewhere", device="cpu")
    assert isinstance(moved.engine, TorchEngine)
    assert [p.score for p in moved.predict(photographs)] == expected
    train(data, tmp_path / "elsewhere", config_of(roi=str(tmp_path / "copy.png")), resume=True)
    save_image(mask, np.ones(SIZE, np.uint8))
    with pytest.raises(ResumeError):
        train(data, tmp_path / "elsewhere", config, resume=True)


def test_evaluation_is_in_the_frame_of_the_photographs(data, roi_mask, tmp_path):
    run = train(data, tmp_path / "run", config_of(128, roi=str(roi_mask)))
    metrics = evaluate(run, data, tmp_path / "out").metrics
    assert metrics["image"]["auroc"] == 1.0
    assert metrics["counts"]["with_mask"] == 3
    height, width = metrics["pixel"]["resolution"]
    assert (height, width) == (round(224 * 128 / 160), round(320 * 128 / 160))
    result = self_test(run, data, tmp_path / "self", max_made=9, device="cpu").result
    assert result["counts"]["made"] + result["counts"]["not_made"] == 9


def test_photographs_that_do_not_fit_stop_training_and_name_themselves(data, tmp_path):
    shutil.copytree(data / "train", tmp_path / "data/train")
    save_image(tmp_path / "data/train/good/small.png", surface(100, 100, 1))
    config = config_of(roi="60,20,160,160")
    with pytest.raises(DataError, match=r"1 training images.*small\.png: the photograph is 100 x 100 px, but"):
        train(tmp_path / "data", tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
    run = train(data, tmp_path / "run", config)
    kinds = [
        type(result).__name__
        for result in cavga.AnomalyDetector.load(run).results([data / "test/good/000.png", surface(100, 100, 1)])
    ]
    assert kinds == ["Prediction", "FailedImage"]


@pytest.mark.parametrize("kind", ["tile", "roi", "both"])
def test_an_exported_file_is_scored_outside_cavga_as_the_document_says(exported_model, tmp_path, kind):
    """docs/large-photographs.md, "Outside cavga", with nothing but the metadata and the graph."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    drawn = np.zeros((70, 110), dtype=np.uint8)
    drawn[6:60, 10:95] = 255
    drawn[20:30, 50:60] = 0
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG")
    png = buffer.getvalue()
    mask = {"png": base64.b64encode(png).decode(), "sha256": hashlib.sha256(png).hexdigest()}
    fields = ({"tile": 32, "tile_overlap": 8} if kind != "roi" else {}) | (
        {"roi": {"rectangle": [10, 6, 85, 54], "mask": mask}} if kind != "tile" else {}
    )
    model = onnx.load(exported_model)
    stated = {item.key: item.value for item in model.metadata_props}
    description = json.loads(stated["cavga"])
    description["preprocessing"] |= fields
    onnx.helper.set_model_props(model, {"cavga": json.dumps(description)})
    onnx.save(model, tmp_path / "model.onnx")
    photograph = np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)
    photograph[40:52, 70:80] = 255
    (expected,) = cavga.AnomalyDetector.load(tmp_path / "model.onnx", device="cpu").predict(photograph)

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    said = json.loads(session.get_modelmeta().custom_metadata_map["cavga"])["preprocessing"]
    part = photograph.copy()
    if "roi" in said:
        inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(said["roi"]["mask"]["png"])))) > 0
        part[~inside] = 128
        x, y, width, height = said["roi"]["rectangle"]
        part = part[y : y + height, x : x + width]
    starts, lengths = [], []
    for side in part.shape[:2]:
        length = min(said.get("tile", side), side)
        step = length - said.get("tile_overlap", 0)
        starts.append([*range(0, side - length, step), side - length])
        lengths.append(length)
    tiles = [part[y : y + lengths[0], x : x + lengths[1]] for y in starts[0] for x in starts[1]]
    scores = [float(session.run(["score"], {"photographs": tile[None]})[0].max()) for tile in tiles]
    assert max(scores) == pytest.approx(expected.score, rel=1e-5)
    (alone,) = session.run(["score"], {"photographs": photograph[None]})[0]
    assert abs(alone - expected.score) > 0.01 * expected.score  # the graph alone says something else
