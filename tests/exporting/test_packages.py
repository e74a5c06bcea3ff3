"""Folders for other servers: read by their own readers, and scored as the model itself scores."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import cavga
from cavga.errors import UsageError
from cavga.exporting import packages
from cavga.exporting.export import Exported
from cavga.exporting.packages import PACKAGES, export_package
from cavga.exporting.parity import ExportCheck
from cavga.inference.detector import AnomalyDetector
from cavga.inference.exported_formats import FOLDERS
from tests.conftest import GOLDEN, golden_description, is_one_complaint, run_command, save_image, texture

SAME = ExportCheck(7, (1,), ((48, 48),), 0.0, 0.0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shutil.copytree(GOLDEN, tmp_path_factory.mktemp("runs") / "Part_No. 3")


def as_exported(run: Path, **preprocessing):
    """In the place of `export_run`, whose tracing takes a minute and is tested elsewhere: the export that is there."""

    def exported(_run, output, *, precision, **_named):
        shutil.copy(run / "model.onnx", output)
        shutil.copy(run / "model.onnx.json", f"{output}.json")
        description = {**golden_description(), "preprocessing": preprocessing}
        return Exported(output, "onnx", precision, SAME, description)

    return exported


def written(run: Path, folder: Path, name: str) -> Path:
    """A folder for another server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "export_run", as_exported(run))
        patch.setitem(sys.modules, "mlflow", None)  # writing takes none
        exported = export_package(run, folder / name, format=name)
    assert (exported.path, exported.format) == (folder / name, name)
    return exported.path


@pytest.fixture(scope="module")
def repository(run, tmp_path_factory):
    return written(run, tmp_path_factory.mktemp("packages"), "triton")


@pytest.fixture(scope="module")
def pyfunc(run, tmp_path_factory):
    return written(run, tmp_path_factory.mktemp("packages"), "mlflow")


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    return save_image(tmp_path_factory.mktemp("photographs") / "part.png", texture(3))


def test_the_table_is_what_the_command_names():
    assert tuple(PACKAGES) == FOLDERS


def test_triton_reads_the_configuration_and_the_graph_has_its_tensors(repository):
    pytest.importorskip("google.protobuf")
    from google.protobuf import text_format

    place = Path(importlib.util.find_spec("tritonclient").submodule_search_locations[0]) / "grpc/model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)  # its package would want grpc
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = repository / "Part_No._3"
    config = text_format.Parse((folder / "config.pbtxt").read_text(), module.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 0)
    session = onnxruntime.InferenceSession(folder / "1/model.onnx")
    for stated, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [one.name for one in stated] == [one.name for one in found]
        assert [len(one.dims) for one in stated] == [len(one.shape) for one in found]
        kinds = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32", "tensor(bool)": "TYPE_BOOL"}
        assert [module.DataType.Name(one.data_type) for one in stated] == [kinds[one.type] for one in found]


def test_kserve_has_a_manifest(repository):
    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load((repository / "inference-service.yaml").read_text())
    assert manifest["kind"] == "InferenceService"
    assert manifest["metadata"]["name"] == "part-no--3"
    model = manifest["spec"]["predictor"]["model"]
    assert (model["protocolVersion"], model["storageUri"]) == ("v2", "pvc://models/triton")


def test_the_repositorys_graph_scores_as_the_model(repository, run, photograph):
    found = AnomalyDetector.load(repository / "Part_No._3/1/model.onnx", device="cpu")(photograph)
    assert found.score == pytest.approx(AnomalyDetector.load(run, device="cpu")(photograph).score, rel=1e-5)


@pytest.mark.filterwarnings("ignore")  # of MLflow's own
def test_stock_mlflow_loads_the_folder_and_scores(pyfunc, run, photograph):
    mlflow = pytest.importorskip("mlflow")
    import pandas

    model = mlflow.pyfunc.load_model(str(pyfunc))
    table = pandas.DataFrame({"image": [photograph.read_bytes(), b"no picture"]}, index=["a", "b"])
    found = model.predict(table)
    expected = AnomalyDetector.load(run, device="cpu")(photograph).to_dict()
    assert list(found.index) == ["a", "b"]
    assert found.score["a"] == pytest.approx(expected["score"], rel=1e-6)
    assert bool(found.is_anomalous["a"]) is expected["is_anomalous"]
    assert json.loads(found.regions["a"]) == json.loads(json.dumps(expected["regions"]))
    assert np.isnan(found.score["b"])
    assert "cannot be" in found.error["b"] or "is not a" in found.error["b"]
    with pytest.raises(Exception, match=r"image"):
        model.predict(pandas.DataFrame({"path": [str(photograph)]}))
    with pytest.raises(Exception, match=r"binary|bytes"):
        model.predict(pandas.DataFrame({"image": [str(photograph)]}))


def test_the_folder_of_mlflow_holds_no_pickle_and_no_program(pyfunc):
    names = {path.name for path in pyfunc.rglob("*")}
    assert names == {"MLmodel", "model.onnx", "export.json", "python_env.yaml", "requirements.txt"}


def test_a_report_lies_beside(repository, pyfunc):
    for folder in (repository, pyfunc):
        report = json.loads((folder / "export.json").read_text())
        assert (report["format"], report["precision"]) == ("onnx", "fp32")


def test_what_is_there_stays(run, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    code, _, err = run_command(capsys, "export", run, "--format", "triton", "--output", tmp_path / "there")
    assert code == 2
    assert is_one_complaint(err)
    code, _, err = run_command(capsys, "export", run, "--format", "mlflow", "--precision", "int8")
    assert code == 2
    assert is_one_complaint(err)
    assert not (run / "mlflow").exists()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_library_writes_what_the_command_writes(run, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(packages, "export_run", as_exported(run))
    exported = cavga.export(run, tmp_path / "a" / name, format=name)
    code, _, _ = run_command(capsys, "export", run, "--format", name, "--output", tmp_path / "b" / name)
    assert (code, exported.path, exported.format) == (0, tmp_path / "a" / name, name)
    of_library, of_command = (
        {
            path.relative_to(tmp_path / one): path.read_bytes()
            for path in (tmp_path / one / name).rglob("*")
            if path.is_file()
        }
        for one in "ab"
    )
    assert of_library == of_command


def test_an_unknown_format_is_refused_with_all_that_there_are(run):
    with pytest.raises(UsageError, match="onnx, openvino, torch, triton, mlflow"):
        cavga.export(run, format="torchscript")


def test_nothing_is_left_where_it_fails(run, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "export_run", as_exported(run))
    monkeypatch.setitem(packages.PACKAGES, "triton", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_package(run, tmp_path / "new", format="triton")
    assert [path for path in tmp_path.iterdir() if "lock" not in path.name] == []


@pytest.mark.parametrize("part", ["tile", "roi"])
def test_a_graph_that_does_not_see_whole_photographs_does_not_go_to_triton(run, tmp_path, monkeypatch, part):
    monkeypatch.setattr(packages, "export_run", as_exported(run, **{part: 1}))
    with pytest.raises(UsageError, match="cavga serve"):
        export_package(run, tmp_path / "triton", format="triton")
    assert not (tmp_path / "triton").exists()
    assert export_package(run, tmp_path / "mlflow", format="mlflow").path.is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("with_exports")
def test_the_command_writes_one(exported_run, tmp_path, capsys):
    target = tmp_path / "triton"
    code, out, _ = run_command(capsys, "export", exported_run, "--format", "triton", "--output", target, "--json")
    assert code == 0
    assert json.loads(out)["format"] == "triton"
    assert (target / "exported/1/model.onnx").is_file()
