import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

import cavga
from cavga.errors import DataError, UsageError
from cavga.inference.lines import PREDICTIONS_FILE, read_predictions
from cavga.inference.prediction import NOTEBOOK_SIDE
from cavga.prediction.predict import PredictionOutputs, predict_to_folder


@pytest.fixture(scope="module")
def detector(run_folder):
    return cavga.AnomalyDetector.load(run_folder, device="cpu")


@pytest.fixture
def photograph(category):
    return category / "test/good/000.png"


def test_its_text_is_one_line_of_file_verdict_score_and_threshold(detector, photograph):
    prediction = detector(photograph)
    text = repr(prediction)
    assert text.startswith(f"Prediction({photograph}: {'anomalous' if prediction.is_anomalous else 'normal'}, score ")
    assert prediction.p_value_in_words in text
    assert "\n" not in text
    assert len(text) < len(str(photograph)) + 120
    assert repr(detector(Image.open(photograph))).startswith("Prediction(an image: ")


@pytest.mark.parametrize("threshold", [None, -1e9, 1e9])
def test_the_overlay_is_the_picture_that_predict_writes(detector, photograph, tmp_path, threshold):
    outputs = PredictionOutputs(overlays=True)
    predict_to_folder(detector, [photograph], tmp_path / "out", threshold=threshold, outputs=outputs)
    written = np.asarray(Image.open(next((tmp_path / "out").rglob("000.png"))))
    prediction = detector(photograph)
    np.testing.assert_array_equal(np.asarray(prediction.overlay(threshold=threshold)), written)
    from_pixels = detector(Image.open(photograph))
    np.testing.assert_array_equal(np.asarray(from_pixels.overlay(threshold=threshold)), written)


def test_it_is_the_line_that_predict_writes(detector, photograph, tmp_path):
    predict_to_folder(detector, [photograph], tmp_path / "out")
    written = json.loads((tmp_path / "out" / PREDICTIONS_FILE).read_text())
    said = detector(photograph).to_dict()
    assert json.loads(json.dumps(said)) | {"milliseconds": 0} == written | {"milliseconds": 0}
    assert list(said) == list(written)
    (tmp_path / "one.jsonl").write_text(json.dumps(detector(Image.open(photograph)).to_dict()))
    assert [line.score for line in read_predictions(tmp_path / "one.jsonl")] == [said["score"]]


def test_a_notebook_shows_a_picture_of_bounded_size_or_the_text(detector, photograph, tmp_path):
    large = Image.open(photograph).resize((2000, 1000))
    shown = Image.open(io.BytesIO(detector(large)._repr_png_()))
    assert shown.format == "PNG"
    assert max(shown.size) == NOTEBOOK_SIDE
    large.save(tmp_path / "gone.png")
    prediction = detector(tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    assert prediction._repr_png_() is None
    with pytest.raises(DataError, match=r"gone\.png"):
        prediction.overlay()


def test_a_prediction_made_by_hand_has_no_overlay():
    zeros = np.zeros((4, 4), np.float32)
    prediction = cavga.Prediction(0.0, 1.0, False, zeros, zeros > 0, (4, 4), 1.0)
    assert repr(prediction) == "Prediction(an image: normal, score 0, threshold 1)"
    with pytest.raises(UsageError, match="scale"):
        prediction.overlay()


def test_a_prediction_can_be_pickled(detector, photograph):
    prediction = detector(Image.open(photograph))
    again = pickle.loads(pickle.dumps(prediction))
    assert again.overlay().tobytes() == prediction.overlay().tobytes()


def test_a_detector_says_what_it_is(detector, run_folder):
    text = repr(detector)
    assert text.startswith(f"AnomalyDetector({detector.description['variant']} ")
    assert f"image threshold {detector.image_threshold:.6g}" in text
    assert str(run_folder) in text
