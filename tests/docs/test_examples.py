"""The samples in other languages say of a photograph what cavga says of it; the notebook runs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cavga
from tests.conftest import texture

MOST_OF_PICTURES = 300_000  # bytes, of a notebook that is in the repository
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cpp(tmp_path_factory):
    """The command of the compiled sample: ONNX Runtime from ONNXRUNTIME_ROOT (include/ and lib/) or from pkg-config."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    root = os.environ.get("ONNXRUNTIME_ROOT")
    if root:
        flags = [f"-I{root}/include", f"-L{root}/lib", "-lonnxruntime", f"-Wl,-rpath,{root}/lib"]
    else:
        asked = ["pkg-config", "--cflags", "--libs", "libonnxruntime"]
        found = shutil.which("pkg-config") and subprocess.run(asked, capture_output=True, text=True, check=False)
        if not found or found.returncode:
            pytest.skip("ONNX Runtime for C++ is not installed: neither ONNXRUNTIME_ROOT nor pkg-config knows it")
        flags = found.stdout.split()
    program = tmp_path_factory.mktemp("cpp") / "predict"
    command = ["g++", "-std=c++17", "-Wall", "-Werror", EXAMPLES / "cpp/predict.cpp", "-o", program, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [program]


@pytest.fixture(scope="module")
def javascript():
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    if not (EXAMPLES / "javascript/node_modules/onnxruntime-node").is_dir():
        pytest.skip("onnxruntime-node is not installed: npm install --ignore-scripts, in examples/javascript")
    return ["node", EXAMPLES / "javascript/predict.mjs"]


@pytest.fixture(params=["cpp", "javascript"])
def sample(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def exported(request, sample):
    """Asked for after the sample, so that nothing is trained where all samples are skipped."""
    return request.getfixturevalue("exported_run") / "model.onnx"


def said(sample, *arguments):
    done = subprocess.run([*sample, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def photograph(folder, *, defect):
    """One of another size than the model's, as a PPM, and its pixels."""
    pixels = np.repeat(texture(300)[:40, :, None], 3, axis=2).copy()
    pixels[:, :, 0] -= 6  # a channel in another's place must show
    if defect:
        pixels[8:24, 8:24] = 255
    path = folder / "photograph.ppm"
    Image.fromarray(pixels).save(path)
    return path, pixels


@pytest.mark.parametrize("defect", [False, True])
def test_a_sample_agrees_with_cavga(sample, exported, tmp_path, defect):
    path, pixels = photograph(tmp_path, defect=defect)
    (expected,) = cavga.AnomalyDetector.load(exported, device="cpu").predict(pixels)
    found = said(sample, exported, path)
    assert float(found["score"]) == pytest.approx(expected.score, abs=1e-4 * expected.threshold)
    assert float(found["threshold"]) == pytest.approx(expected.threshold, rel=1e-6)
    assert found["decision"] == ("anomalous" if expected.is_anomalous else "normal")
    assert float(found["mask"].removesuffix(" %")) == pytest.approx(100 * expected.mask.mean(), abs=0.1)


def test_a_sample_takes_another_threshold(sample, exported, tmp_path):
    path, pixels = photograph(tmp_path, defect=False)
    (expected,) = cavga.AnomalyDetector.load(exported, device="cpu").predict(pixels)
    for factor, decision in ((0.99, "anomalous"), (1.01, "normal")):
        found = said(sample, exported, path, str(factor * expected.score))
        assert float(found["threshold"]) == pytest.approx(factor * expected.score, rel=1e-6)
        assert found["decision"] == decision


@pytest.mark.parametrize("fault", ["no arguments", "no photograph", "no threshold", "no model"])
def test_a_sample_names_a_users_mistake(sample, exported, tmp_path, fault):
    path, _ = photograph(tmp_path, defect=False)
    arguments, message = {
        "no arguments": ([], "usage"),
        "no photograph": ([exported, exported], "PPM"),
        "no threshold": ([exported, path, "high"], "threshold must be a number"),
        "no model": ([path, path], ""),
    }[fault]
    done = subprocess.run([*sample, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def complaint(sample, *arguments):
    done = subprocess.run([*sample, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


def test_a_sample_says_that_a_photograph_is_not_there(sample, exported, tmp_path):
    line = complaint(sample, exported, tmp_path / "nothing.ppm")
    assert "nothing.ppm" in line
    assert "does not exist" in line or "no such file" in line


def test_a_sample_takes_a_ppm_with_comments(sample, exported, tmp_path):
    path, _ = photograph(tmp_path, defect=False)
    content = path.read_bytes()
    commented = tmp_path / "commented.ppm"
    commented.write_bytes(content.replace(b"P6\n", b"P6\n# Created by GIMP 3 5\n# another\n", 1))
    assert commented.stat().st_size > path.stat().st_size
    assert said(sample, exported, commented) == said(sample, exported, path)


@pytest.mark.parametrize("described", [{"tile": 32, "tile_overlap": 8}, {"roi": {"rectangle": [0, 0, 8, 8]}}])
def test_a_sample_refuses_a_model_with_tiles_or_a_region_of_interest(sample, exported, tmp_path, described):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    for item in model.metadata_props:
        if item.key == "cavga":
            description = json.loads(item.value)
            description["preprocessing"] |= described
            item.value = json.dumps(description)
    onnx.save(model, tmp_path / "model.onnx")
    path, _ = photograph(tmp_path, defect=False)
    for more in ([], ["1.0"]):
        assert "tiles or a region of interest" in complaint(sample, tmp_path / "model.onnx", path, *more)


def test_samples_are_short():
    for path in EXAMPLES.glob("*/predict.*"):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert len([line for line in lines if line and not line.startswith("//")]) <= 60, path


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_notebook_runs_from_start_to_end_and_is_kept_with_small_outputs(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "first_look.ipynb", as_version=4)
    kept = outputs_of(notebook)
    pictures = [content for output in kept for name, content in output.get("data", {}).items() if "image" in name]
    assert 0 < sum(map(len, pictures)) < MOST_OF_PICTURES
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert str(Path.home()) not in json.dumps(kept)
    assert "/tmp" not in json.dumps(kept)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    again = outputs_of(notebook)
    assert [output.output_type for output in again] == [output.output_type for output in kept]
    assert not [output for output in again if output.output_type == "error" or output.get("name") == "stderr"]
