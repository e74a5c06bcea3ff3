"""Exports of real runs, checked, loaded and run. One export of each kind is shared: they take seconds."""

import json
import logging
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import cavga
from cavga.calibration.stored import calibrated_on
from cavga.cli.commands.export import threshold_lines
from cavga.cli.main import main as command_line
from cavga.config.presets import make_config
from cavga.data.manifest import sha256_of
from cavga.errors import DataError, ExportError, MissingExtraError, ModelFileError, UsageError
from cavga.exporting import writers
from cavga.exporting.export import Exported, export_run
from cavga.exporting.parity import check_parity
from cavga.exporting.trace import onnx_model
from cavga.exporting.writers import WRITERS
from cavga.images.decode import read_image
from cavga.inference.exported_files import check_exported
from cavga.inference.exported_formats import FORMATS
from cavga.inference.load_exported import files_of
from cavga.inference.onnx_engine import OnnxEngine
from cavga.inference.seal import MARK, is_intact, sealed_onnx
from cavga.inference.torch_engine import load_run
from cavga.runs.model_json import load_description
from cavga.training.train import train
from tests.conftest import (
    GOLDEN,
    run_command,
    save_image,
    small_config,
    texture,
    with_flipped_bit,
    without_shape_checks,
)
from tests.conftest import cavga as command


def photograph(seed: int, *, size: int = 48) -> np.ndarray:
    return np.repeat(texture(seed, size=size)[:, :, None], 3, axis=2)


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """The same graph with the same description, which takes seconds to trace, is traced for the first test alone."""
    models: dict[tuple[str, bool], bytes] = {}

    def remembered(graph, description, *, in_half=False):
        key = (json.dumps(description, sort_keys=True), in_half)
        if key not in models:
            models[key] = onnx_model(graph, description, in_half=in_half).SerializeToString()
        return onnx.ModelProto.FromString(models[key])

    with without_shape_checks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("cavga.exporting.writers.onnx_model", remembered)
        yield


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its exported graph, as training leaves it."""
    copy = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(run_folder, copy)
    export_run(copy)
    return copy


def test_the_exported_graph_is_used_and_says_what_torch_says(run, category):
    exported, in_torch = cavga.AnomalyDetector.load(run), cavga.AnomalyDetector.load_in_torch(run, device="cpu")
    assert isinstance(exported.engine, OnnxEngine)
    assert exported.description == in_torch.description
    for one, other in zip(exported.predict(category / "test"), in_torch.predict(category / "test"), strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4, abs=1e-5)
        assert one.is_anomalous == other.is_anomalous
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, rtol=1e-4, atol=1e-5)


def test_a_graph_takes_photographs_of_any_size_and_resizes_them_as_the_detector_does(run):
    engine = OnnxEngine(files_of(run / "model.onnx"))
    for size in (8, 32, 48, 100, 301 // 4 * 4):
        one = photograph(size, size=size)
        raw, resized = engine.score([one]), engine.score([engine.resize(one)])
        np.testing.assert_allclose(raw.scores, resized.scores, rtol=1e-6)
        np.testing.assert_allclose(raw.maps, resized.maps, rtol=1e-5, atol=1e-6)


def test_thresholds_are_inputs_with_defaults(run):
    import onnxruntime

    session = onnxruntime.InferenceSession(run / "model.onnx")
    assert [node.name for node in session.get_inputs()] == ["photographs"]
    pixels = photograph(1)[None]
    score, is_anomalous, anomaly_map, mask = session.run(None, {"photographs": pixels})
    calibration = json.loads((run / "model.json").read_text())["calibration"]
    assert is_anomalous[0] == (score[0] >= np.float32(calibration["image_threshold"]))
    assert (mask == (anomaly_map >= np.float32(calibration["pixel_threshold"]))).all()
    other = {"image_threshold": np.array(score[0]), "pixel_threshold": np.array(anomaly_map.max())}
    _, is_anomalous, _, mask = session.run(None, {"photographs": pixels, **other})
    assert is_anomalous[0]
    assert mask.sum() == (anomaly_map == anomaly_map.max()).sum()


def test_the_file_says_what_it_is_and_nothing_of_the_machine_it_was_made_on(run):
    engine = OnnxEngine(files_of(run / "model.onnx"))
    assert engine.description["variant"] == "r-u"
    assert engine.description["format_version"] == 1
    content = (run / "model.onnx").read_bytes()
    assert str(Path(cavga.__file__).parent).encode() not in content
    report = json.loads((run / "model.onnx.json").read_text())
    assert report["check"]["score_difference"] <= 1e-4
    assert report["check"]["decisions_changed"] == 0
    assert report["check"]["batches"] == [1, 2, 7]
    assert len(report["check"]["sizes"]) == 3  # their own, smaller, of another shape


@pytest.mark.parametrize(
    ("preset", "variant"),
    [
        *[("recommended", "d-s"), ("recommended", "r-w"), ("paper", "d-w")],
        *(pytest.param(*kind, marks=pytest.mark.slow)
          for kind in (("recommended", "d-w"), ("paper", "r-w"), ("paper", "d-u"))),
    ],
)  # fmt: skip
def test_every_kind_of_model_is_exported(preset, variant, category, tmp_path):
    config = small_config(preset, variant, epochs=1)
    exported = export_run(train(category, tmp_path / "run", config))
    assert exported.check.score_difference <= 1e-4


@pytest.mark.usefixtures("few_synthetic")
def test_an_aggregated_prior_of_a_frozen_encoder_is_exported(category, tmp_path):
    config = make_config(
        "recommended",
        {
            "data": {"image_size": (64, 64)},
            "model": {"variant": "r-s", "weights": "none", "train_encoder": False, "prior": "aggregated",
                      "stages": (1, 2), "latent_channels": 8, "decoder_width": 8},
            "training": {"epochs": 1, "device": "cpu"},
        },
    )  # fmt: skip
    exported = export_run(train(category, tmp_path / "run", config))
    assert max(exported.check.score_difference, exported.check.map_difference) <= 1e-4


@pytest.mark.parametrize(("format", "precision"), [("openvino", "fp32"), ("torch", "fp32"), ("onnx", "fp16"),
                                                  ("onnx", "int8"), ("openvino", "int8")])  # fmt: skip
def test_other_formats_and_precisions(run, category, tmp_path, format, precision):
    suffix = {"openvino": ".xml", "torch": ".pt2", "onnx": ".onnx"}[format]
    exported = export_run(run, tmp_path / f"model{suffix}", format=format, precision=precision)
    assert json.loads(exported.path.with_name(f"model{suffix}.json").read_text())["precision"] == precision
    if precision == "fp32":
        assert exported.check.score_difference <= 1e-4
    detector = cavga.AnomalyDetector.load(exported.path, runs_code=format == "torch")
    expected = [p.score for p in cavga.AnomalyDetector.load(run).predict(category / "test")]
    found = [p.score for p in detector.predict(category / "test")]
    assert np.corrcoef(expected, found)[0, 1] > (0.999 if precision != "int8" else 0.9)
    with pytest.raises(UsageError, match="cuda"):
        cavga.AnomalyDetector.load(exported.path, device="cuda", runs_code=True)
    if format != "torch":
        assert is_intact(files_of(exported.path).content, files_of(exported.path).companion)
    if format == "openvino":
        refuse_flipped_bits(tmp_path, exported.path.with_suffix(".bin"), exported.path, count=6)
        refuse_flipped_bits(tmp_path, exported.path, exported.path, count=6)


def refuse_flipped_bits(folder: Path, changed: Path, model: Path, *, count: int) -> None:
    """No model with one bit of `changed` flipped is loaded, with and without the report beside it."""
    whole, report = changed.read_bytes(), model.with_name(f"{model.name}.json")
    for kept in (True, False):
        beside = report.read_bytes()
        if not kept:
            report.unlink()
        for bit in np.linspace(0, len(whole) * 8 - 1, count, dtype=int):
            changed.write_bytes(with_flipped_bit(whole, int(bit)))
            with pytest.raises(ModelFileError):
                cavga.AnomalyDetector.load(model)
        changed.write_bytes(whole)
        report.write_bytes(beside)


def test_a_flipped_bit_anywhere_in_an_exported_graph_is_refused(exported_model, tmp_path):
    """Without the report, which bundles did not have: 73 of 300 such files gave other scores."""
    path = tmp_path / "model.onnx"
    whole = exported_model.read_bytes()
    mark = whole.find(MARK)
    for bit in [*np.linspace(0, len(whole) * 8 - 1, 60, dtype=int), *range(mark * 8, (mark + 12) * 8, 7),
                *range((len(whole) - 80) * 8, len(whole) * 8, 13)]:  # fmt: skip
        path.write_bytes(with_flipped_bit(whole, int(bit)))
        with pytest.raises(ModelFileError) as error:
            cavga.AnomalyDetector.load(path)
        assert len(str(error.value).splitlines()) == 1
    for part in (whole[:-1], whole[:-70], whole + b"x", onnx.load_from_string(whole).SerializeToString()):
        path.write_bytes(part)
        with pytest.raises(ModelFileError, match=r"damaged|cannot be read"):
            cavga.AnomalyDetector.load(path)


def test_a_graph_of_an_earlier_version_is_used_and_the_lack_of_a_sum_is_said(tmp_path, caplog):
    path = shutil.copy(GOLDEN / "model.onnx", tmp_path / "model.onnx")
    cavga.AnomalyDetector.load(path)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "carries no sum" in warning
    assert "`cavga export RUN` renews it" in warning
    shutil.copy(GOLDEN / "model.onnx.json", tmp_path / "model.onnx.json")
    caplog.clear()
    cavga.AnomalyDetector.load(path)
    assert not caplog.records


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.json", "model.onnx.calibration.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(exported_model, tmp_path, name):
    shutil.copy(exported_model, tmp_path / "model.onnx")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelFileError):
        cavga.AnomalyDetector.load(tmp_path / "model.onnx")


class Touching:
    """What a pickle does when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_program_in_a_pt2_file_does_not_run(tmp_path, capsys):
    model = tmp_path / "model.pt2"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Touching(tmp_path / "ran")))
    photographs = save_image(tmp_path / "photographs/0.png", photograph(1)).parent
    for arguments in (("predict", model, photographs, "--output", tmp_path / "o"), ("profile", model, photographs),
                      ("evaluate", model, photographs, "--output", tmp_path / "o")):  # fmt: skip
        code, _, err = run_command(capsys, *arguments)
        assert (code, len(err.splitlines())) == (1, 1)
        assert "can run any program" in err
        assert "--allow-pt2-which-runs-code" in err
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ModelFileError, match="no program that `cavga export` wrote"):
        cavga.AnomalyDetector.load(model, runs_code=True)


def test_a_format_that_runs_code_is_named_so_by_the_flag(capsys):
    with pytest.raises(SystemExit):
        command_line(["predict", "--help-all"])
    assert "--allow-pt2-which-runs-code" in capsys.readouterr().out
    assert [name for name, found in FORMATS.items() if found.runs_code] == ["torch"]


def test_what_a_runtime_says_while_it_runs_is_one_line(exported_model):
    engine = OnnxEngine(files_of(exported_model))
    with pytest.raises(ModelFileError, match="cannot be run"):
        engine.score([np.zeros((8, 8, 4), np.uint8)])


def test_an_export_that_gives_no_numbers_is_not_written(run):
    reference, _ = load_run(run, "cpu")

    class Silent:
        image_size = reference.image_size
        image_threshold, pixel_threshold = reference.image_threshold, reference.pixel_threshold
        resize = reference.resize

        def score(self, photographs):
            scored = reference.score([reference.resize(one) for one in photographs])
            return type(scored)(scored.scores * np.float32(np.nan), scored.maps, scored.masks)

    calibration = load_description(run)["calibration"]
    with pytest.raises(ExportError, match="nan"):
        check_parity(reference, Silent(), [photograph(seed) for seed in range(3)], calibration).require_equality()


def test_int8_stays_in_the_encoder_and_says_nothing_of_how_it_is_made(run, tmp_path, capfd, caplog):
    exported = export_run(run, tmp_path / "model.onnx", precision="int8")
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    model = onnx.load(exported.path)
    assert {"image_threshold", "pixel_threshold"} <= {tensor.name for tensor in model.graph.initializer}  # defaults
    kinds = {node.op_type for node in model.graph.node}
    assert "QuantizeLinear" in kinds
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    quantized = {out for node in model.graph.node if node.op_type == "DequantizeLinear" for out in node.output}
    assert products
    assert not any(quantized.intersection(node.input) for node in products)


def test_without_openvino_the_export_says_which_extra(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cavga\[openvino\]'"):
        export_run(run, tmp_path / "model.xml", format="openvino")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_says_something_else_is_refused_and_nothing_is_left(run, tmp_path, monkeypatch):
    right = writers.onnx_model

    def wrong(graph, description, **options):
        model = right(graph, description, **options)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                values = 1.01 * onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
        return model

    monkeypatch.setattr("cavga.exporting.writers.onnx_model", wrong)
    with pytest.raises(ExportError, match="nothing was written"):
        export_run(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_difference_between_engines_is_counted(run):
    reference, _ = load_run(run, "cpu")
    other = OnnxEngine(files_of(run / "model.onnx"))
    calibration = other.description["calibration"]

    class Louder:
        image_size = other.image_size
        image_threshold, pixel_threshold = other.image_threshold, other.pixel_threshold
        resize = other.resize

        def score(self, photographs):
            scored = other.score(photographs)
            maps = scored.maps * 3
            return type(scored)(scored.scores * 3, maps, maps >= np.float32(self.pixel_threshold))

    check = check_parity(reference, Louder(), [photograph(seed) for seed in range(3)], calibration)
    assert check.score_difference > 0.1
    assert check.map_difference > 0.1
    with pytest.raises(ExportError):
        check.require_equality()


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(UsageError, match="expected one of onnx fp32"):
        export_run(run, format="torch", precision="int8")
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_run(run, tmp_path / "model.xml")
    with pytest.raises(DataError, match="--data"):
        export_run(run, tmp_path / "model.onnx", data=tmp_path)
    (tmp_path / "foreign.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="cannot be read as an ONNX model"):
        cavga.AnomalyDetector.load(tmp_path / "foreign.onnx")
    with pytest.raises(ModelFileError, match="no such model"):
        cavga.AnomalyDetector.load(tmp_path / "missing.onnx")


def test_a_damaged_graph_and_one_of_other_weights_are_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        cavga.AnomalyDetector.load(copy)
    shutil.copy(run / "model.onnx", copy / "model.onnx")
    model = onnx.load(copy / "model.onnx")
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"weights_sha256": "', '"weights_sha256": "0')
    (copy / "model.onnx").write_bytes(sealed_onnx(model.SerializeToString()))
    (copy / "model.onnx.json").unlink()
    with pytest.raises(ModelFileError, match="not of this run's weights"):
        cavga.AnomalyDetector.load(copy)


def test_metadata_that_is_no_description_is_refused_in_one_line(run, tmp_path):
    for text in ("nonsense", "{}", "[1]"):
        model = onnx.load(run / "model.onnx")
        onnx.helper.set_model_props(model, {"cavga": text})
        (tmp_path / "model.onnx").write_bytes(sealed_onnx(model.SerializeToString()))
        with pytest.raises(ModelFileError, match="not one that `cavga export` wrote, or damaged"):
            cavga.AnomalyDetector.load(tmp_path / "model.onnx")


def test_the_weights_of_an_openvino_model_are_checked_too(tmp_path):
    for name, content in (("model.xml", b"xml"), ("model.bin", b"weights")):
        (tmp_path / name).write_bytes(content)
    path, report = tmp_path / "model.xml", tmp_path / "model.xml.json"
    hashes = files_of(path).hashes()
    report.write_text(json.dumps(hashes))
    check_exported(files_of(path))
    (tmp_path / "model.bin").write_bytes(b"weightz")
    with pytest.raises(ModelFileError, match=r"model\.bin is damaged"):
        check_exported(files_of(path))
    report.write_text(json.dumps({"sha256": hashes["sha256"]}))  # of an earlier version
    check_exported(files_of(path))
    (tmp_path / "model.bin").unlink()
    with pytest.raises(ModelFileError, match=r"model\.bin is missing"):
        files_of(path)


def test_a_program_that_is_cut_off_is_refused_in_one_line(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ModelFileError, match="no program that `cavga export` wrote"):
        cavga.AnomalyDetector.load(tmp_path / "model.pt2", runs_code=True)


def test_a_calibrated_run_is_exported_with_its_new_thresholds_and_the_command_says_so(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("cavga.cli.waiting.SECONDS_BETWEEN_LINES", 3600.0)  # a busy machine says how far it is
    copy = shutil.copytree(run, tmp_path / "run")
    trained = cavga.AnomalyDetector.load(copy)
    good = [save_image(tmp_path / f"new lamp/{i}.png", photograph(500 + i) // 2) for i in range(5)]
    code, out, _ = run_command(capsys, "calibrate", copy, tmp_path / "new lamp")
    assert (code, f"{copy / 'model.onnx'}, used by itself" in out) == (0, True)
    code, out, err = run_command(capsys, "export", copy)
    assert (code, err) == (0, "")
    calibrated, exported = cavga.AnomalyDetector.load(copy), cavga.AnomalyDetector.load(copy / "model.onnx")
    new = calibrated.image_threshold
    assert new != trained.image_threshold
    assert f"thresholds: image {new:.6g}, mask {calibrated.pixel_threshold:.6g}, set by `cavga calibrate`" in out
    assert "5 photographs of new lamp/" in out
    assert "read the same in the exported file as in the model" in out
    assert (exported.image_threshold, exported.pixel_threshold) == (new, calibrated.pixel_threshold)
    scores, are_anomalous = decisions_of(copy / "model.onnx", np.stack([read_image(path) for path in good]))
    assert (are_anomalous == (scores >= np.float32(new))).all()
    assert calibrated_on(exported.description) == sorted(sha256_of(path) for path in good)
    assert run_command(capsys, "calibrate", copy, "--reset")[0] == 0
    for detector in (cavga.AnomalyDetector.load(copy), cavga.AnomalyDetector.load_in_torch(copy, device="cpu")):
        assert detector.image_threshold == trained.image_threshold  # whatever the file beside it was exported with
        assert detector.pixel_threshold == trained.pixel_threshold
    code, _, err = run_command(capsys, "bundle", copy, "--output", tmp_path / "b", "--platform", "linux_x86_64")
    assert (code, "was exported with other thresholds" in err) == (1, True)


def decisions_of(path: Path, photographs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and decisions by the thresholds that the file itself carries."""
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(["score", "is_anomalous"], {"photographs": photographs})


def test_the_command_names_thresholds_of_the_training_int8_and_a_calibration_beside(run, tmp_path):
    description, path = load_description(run), tmp_path / "model.onnx"
    exported = Exported(path, "onnx", "int8", None, description)
    lines = "\n".join(threshold_lines(exported))
    threshold = description["calibration"]["image_threshold"]
    assert f"thresholds: image {threshold:.6g}" in lines
    assert "those of the training" in lines
    assert f"cavga calibrate {path} GOOD_PHOTOS" in lines
    assert "--reset" not in lines
    path.with_name("model.onnx.calibration.json").touch()
    assert f"cavga calibrate {path} --reset" in "\n".join(threshold_lines(exported))


def test_training_ends_with_an_export(category, tmp_path):
    """In a process of its own: the other tests train without."""
    from cavga.config.toml import write_toml

    (tmp_path / "c.toml").write_text(write_toml(small_config(variant="d-u", epochs=1)), encoding="utf-8")
    flags = ("train", category, "--output", tmp_path / "run", "--config", tmp_path / "c.toml")
    done = command(*flags)
    assert done.returncode == 0, done.stderr
    assert "photographs read the same in the exported file" in done.stderr
    assert (tmp_path / "run/model.onnx").is_file()
    done = command("predict", tmp_path / "run", category / "test", "--output", tmp_path / "results")
    assert done.returncode == 0, done.stderr


def test_every_format_has_a_writer_and_an_engine():
    assert set(WRITERS) == set(FORMATS)
