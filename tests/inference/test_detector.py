import os
import pickle
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

import cavga
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.inference.engine import EngineOutput
from tests.conftest import GOLDEN, small_config, texture


@pytest.fixture(scope="module")
def detector(run_folder):
    return cavga.AnomalyDetector.load(run_folder, device="cpu")


def photographs(count):
    return [np.repeat(texture(i)[:, :, None], 3, axis=2) for i in range(count)]


def test_arrays_paths_folders_and_iterables(detector, category):
    folder = category / "test/good"
    paths = sorted(folder.iterdir())
    from_folder = [p.score for p in detector.predict(folder)]
    assert from_folder == [p.score for p in detector.predict(paths)]
    assert from_folder == [p.score for p in detector.predict((str(path) for path in paths), ahead=47)]
    one_by_one = [p.score for p in detector.predict(str(path) for path in paths)]
    assert one_by_one == pytest.approx(from_folder, abs=1e-5)
    arrays = photographs(2)
    assert [p.score for p in detector.predict(arrays)] == [p.score for p in detector.predict(np.stack(arrays))]
    assert next(detector.predict(arrays[0])).score == pytest.approx(next(detector.predict(arrays)).score, abs=1e-5)


def test_a_prediction_holds_together(detector):
    (prediction,) = detector.predict(photographs(1)[0][:40])
    assert prediction.image_size == (40, 48)
    assert prediction.anomaly_map.shape == (32, 32)
    assert prediction.anomaly_map.dtype == np.float32
    assert prediction.is_anomalous == (prediction.score >= prediction.threshold)
    assert (prediction.mask == (prediction.anomaly_map >= np.float32(detector.pixel_threshold))).all()


def test_a_score_at_the_threshold_counts(run_folder):
    one = cavga.AnomalyDetector.load(run_folder, device="cpu")
    photograph = photographs(1)[0]
    score = next(one.predict(photograph)).score
    one.engine.image_threshold = score
    assert next(one.predict(photograph)).is_anomalous
    one.engine.image_threshold = float(np.nextafter(np.float32(score), np.float32(np.inf)))
    assert not next(one.predict(photograph)).is_anomalous


def test_a_map_does_not_depend_on_its_batch_mates(detector):
    images = photographs(20)
    together = list(detector.predict(images))
    for i in (0, 7, 19):
        (alone,) = detector.predict(images[i])
        np.testing.assert_allclose(alone.anomaly_map, together[i].anomaly_map, rtol=1e-4, atol=1e-5)


def test_prediction_streams(detector):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield photographs(1)[0]

    stream = detector.predict(endless())
    next(stream)
    assert taken < 100
    stream.close()


def test_a_bad_image_stops_predict_but_not_results(detector, tmp_path, category):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    sources = [category / "test/good/000.png", tmp_path / "bad.png", category / "test/good/001.png"]
    with pytest.raises(DataError, match=r"bad\.png"):
        list(detector.predict(sources))
    kinds = [type(result).__name__ for result in detector.results(sources)]
    assert kinds == ["Prediction", "FailedImage", "Prediction"]


def test_predictions_and_failures_say_which_file_they_are_of(detector, tmp_path, category):
    shutil.copytree(category / "test/good", tmp_path / "photos")
    (tmp_path / "photos/001.png").write_bytes(b"nothing")
    results = list(detector.results(str(tmp_path / "photos")))
    assert [result.path for result in results] == [tmp_path / f"photos/{i:03d}.png" for i in range(4)]
    assert [isinstance(result, cavga.Prediction) for result in results] == [True, False, True, True]
    assert [result.path for result in detector.results([photographs(1)[0], np.zeros((4, 4), np.uint8)])] == [None, None]


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 2), np.uint8), np.full((4, 4, 3), 2.0), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_that_are_no_photographs(detector, array):
    with pytest.raises(DataError, match=r"an image \(ndarray\): expected .*"):
        list(detector.predict([array]))
    with pytest.raises(DataError, match="expected"):
        detector(array)


def test_one_photograph_has_the_same_score_in_every_form(detector, tmp_path):
    import torch

    pixels = photographs(1)[0]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    forms = {
        "array": pixels,
        "grey": pixels[..., 0],
        "RGBA": np.dstack([pixels, np.zeros_like(pixels[..., :1])]),
        "float": pixels / 255,
        "Pillow": Image.fromarray(pixels),
        "Pillow, grey": Image.fromarray(pixels[..., 0]),
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
        "path": tmp_path / "photo.png",
        "text": str(tmp_path / "photo.png"),
    }
    scores = {name: detector(form).score for name, form in forms.items()}
    assert set(scores.values()) == {next(detector.predict(pixels, ahead=0)).score}
    batch = torch.stack([forms["tensor"]] * 2)
    assert [p.score for p in detector.predict(batch)] == pytest.approx([scores["array"]] * 2, abs=1e-5)


@pytest.mark.parametrize("several", [[], [np.zeros((4, 4), np.uint8)], np.zeros((2, 4, 4, 3), np.uint8), "", ".", None])
def test_a_call_takes_one_image(detector, several):
    with pytest.raises(UsageError, match="expected one image"):
        detector(several)


def test_a_slow_camera_gets_each_result_before_its_next_frame_is_asked_for(detector):
    asked, scored = [], []

    def camera():
        for i in range(4):
            asked.append(i)
            assert len(scored) == i
            time.sleep(0.05)
            yield photographs(1)[0]

    for prediction in detector.predict(camera()):
        scored.append(prediction.score)
        assert len(asked) == len(scored)
    assert len(scored) == 4


def test_a_camera_may_reuse_its_buffer(detector):
    buffer = np.zeros((40, 40, 3), np.uint8)

    def camera():
        for level in (50, 200):
            buffer[:] = level
            yield buffer

    kept = [prediction.display.pixels for prediction in detector.predict(camera())]
    assert [pixels.max() for pixels in kept] == [50, 200]


@pytest.mark.parametrize("item", [None, 5, [None], object()])
def test_what_is_no_image_at_all(detector, item):
    with pytest.raises((UsageError, TypeError)):
        list(detector.predict(item))


def test_read_only_arrays_and_empty_folders(detector, tmp_path):
    photograph = photographs(1)[0].copy()
    photograph.flags.writeable = False
    assert len(list(detector.predict(photograph))) == 1
    with pytest.raises(DataError, match="holds no images"):
        list(detector.predict(tmp_path))


def test_weights_of_another_model_are_refused(run_folder, tmp_path):
    from cavga.runs.checkpoint import load_model, save_model

    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    tensors, description = load_model(run)
    del tensors["model.mu_head.projections.0.weight"]
    save_model(run, tensors, {k: v for k, v in description.items() if k not in ("weights_sha256", "format_version")})
    with pytest.raises(ModelFileError, match="do not fit together"):
        cavga.AnomalyDetector.load(run)


def test_an_unknown_device_is_named(run_folder):
    with pytest.raises(UsageError, match="expected one of"):
        cavga.AnomalyDetector.load(run_folder, device="gpu")


def test_cuda_where_there_is_none(run_folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        cavga.AnomalyDetector.load(run_folder, device="cuda")


def test_class_attention_takes_a_path_or_an_array_and_needs_a_classifier(category, run_folder, tmp_path):
    from cavga.images.decode import read_image
    from cavga.training.train import train

    path = sorted((category / "test").rglob("*.png"))[0]
    with pytest.raises(UsageError, match="needs a classifier"):
        cavga.AnomalyDetector.load(run_folder).class_attention(path)
    detector = cavga.AnomalyDetector.load(train(category, tmp_path / "w", small_config("paper", "r-w", epochs=1)))
    for source in (path, str(path), read_image(path)):
        normal, anomalous = detector.class_attention(source)
        assert normal.shape == anomalous.shape == (32, 32)
        assert 0 <= min(normal.min(), anomalous.min()) <= max(normal.max(), anomalous.max()) <= 1


class Broken:
    """An engine whose second photograph of a batch, and only that, has no number as `field`."""

    image_size = (32, 32)
    image_threshold = pixel_threshold = 1.0

    def __init__(self, field, value):
        self.field, self.value = field, value

    def resize(self, photograph):
        return photograph[:32, :32]

    def score(self, photographs):
        scores, maps = np.zeros(len(photographs), np.float32), np.zeros((len(photographs), 32, 32), np.float32)
        {"score": scores, "map": maps}[self.field][1:2] = self.value
        return EngineOutput(scores, maps, maps >= 1)


@pytest.mark.parametrize("field", ["score", "map"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_an_error_and_never_normal(field, value):
    detector = cavga.AnomalyDetector(Broken(field, value), {})
    first, second, third = detector.results(photographs(3))
    assert isinstance(first, cavga.Prediction)
    assert isinstance(third, cavga.Prediction)
    assert "no finite number" in second.error
    with pytest.raises(DataError, match="no finite number"):
        list(detector.predict(photographs(3)))


def test_a_detector_is_pickled_as_the_place_it_came_from(run_folder, exported_run):
    for detector in (cavga.AnomalyDetector.load_in_torch(run_folder, device="cpu"),
                     cavga.AnomalyDetector.load(exported_run, device="cpu"),
                     cavga.AnomalyDetector.load(exported_run / "model.onnx")):  # fmt: skip
        detector.engine.image_threshold = 0.5
        content = pickle.dumps(detector)
        assert len(content) < 20_000
        again = pickle.loads(content)
        one, other = next(detector.predict(photographs(1))), next(again.predict(photographs(1)))
        assert (one.score, one.threshold, one.is_anomalous) == (other.score, other.threshold, other.is_anomalous)
        assert again.description == detector.description
    with pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(cavga.AnomalyDetector(Broken("map", 0), {}))


def test_names_that_no_file_system_takes(detector):
    (failed,) = detector.results("a" * 300)
    assert "a" * 300 in failed.error
    for nothing in ("", [""]):
        with pytest.raises(UsageError, match="an empty text"):
            list(detector.results(nothing))


@pytest.mark.parametrize("ahead", [0, 1, 5, 47])
def test_so_many_images_are_taken_ahead_and_no_more(detector, ahead):
    taken = 0

    def camera():
        nonlocal taken
        for photograph in photographs(8):
            for _ in range(10):
                taken += 1
                yield photograph

    for given, _ in enumerate(detector.results(camera(), ahead=ahead), start=1):
        assert taken <= given + ahead
    assert given == taken == 80
    with pytest.raises(UsageError, match="ahead"):
        list(detector.results(photographs(1), ahead=-1))


def in_forked_process(work):
    """What `work` returns as its exit code in a child; the signal's number where it hangs and is killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_predicts_in_torch_and_does_not_hang(run_folder):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loaded = cavga.AnomalyDetector.load_in_torch(run_folder, device="cpu")
        expected = next(loaded.predict(photographs(4))).score
        torch.nn.functional.conv2d(torch.ones(4, 3, 64, 64), torch.ones(8, 3, 3, 3))  # starts the threads

        def work():
            anew = cavga.AnomalyDetector.load_in_torch(run_folder, device="cpu")
            found = [next(one.predict(photographs(4))).score for one in (loaded, anew)]
            return 0 if found == pytest.approx([expected] * 2, rel=1e-5) else 1

        assert in_forked_process(work) == 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_loads_an_exported_model_of_its_own(exported_run):
    loaded = cavga.AnomalyDetector.load(exported_run, device="cpu")
    next(loaded.predict(photographs(4)))

    def work():
        try:
            next(loaded.predict(photographs(1)))
        except UsageError as error:
            next(cavga.AnomalyDetector.load(exported_run, device="cpu").predict(photographs(4)))
            return 0 if "was loaded before the process was forked" in str(error) else 1
        return 2

    assert in_forked_process(work) == 0


def test_loading_draws_no_random_numbers_of_the_caller():
    import torch

    states = [torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state())]
    cavga.AnomalyDetector.load_in_torch(GOLDEN, device="cpu")
    assert states == [torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state())]
