"""Bundles for a machine without network: what is refused, what the installer checks, and, slowly, a whole one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import onnx
import pytest

import cavga
from cavga.calibration.stored import StoredCalibration, save_thresholds
from cavga.calibration.thresholds import Calibration
from cavga.cli.main import main
from cavga.data.manifest import sha256_of
from cavga.exporting import bundle
from cavga.exporting.bundle_files import INSTALL_BAT, INSTALL_SH
from cavga.inference.seal import sealed_onnx
from cavga.output_lock import writing_file
from cavga.runs.model_json import METADATA_KEY, load_description, save_description
from tests.conftest import cavga as command
from tests.conftest import golden_description, is_one_complaint

LINUX = ("--platform", "linux_x86_64")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose exported graph gives back its photographs: enough to be loaded."""
    run = tmp_path_factory.mktemp("bundle") / "run"
    description = golden_description()
    save_description(run, description, weights_sha256="0")
    shape = ["batch", "height", "width", 3]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape) for name in ("photographs", "score")
    ]
    node = onnx.helper.make_node("Identity", ["photographs"], ["score"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "model", ends[:1], ends[1:]),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(load_description(run))})
    (run / "model.onnx").write_bytes(sealed_onnx(model.SerializeToString()))
    (run / "model.onnx.json").write_text(json.dumps({"sha256": sha256_of(run / "model.onnx")}))
    return run


@pytest.fixture
def without_packages(monkeypatch):
    """pip brings two small wheels, one of which needs a third on Windows only; the calls are returned."""
    calls = []

    def pip(_doing, verb, *arguments, **_options):
        calls.append((verb, *arguments))
        named = [name for name in ("colours", "tool") if any(a.startswith(name) for a in arguments)]
        folder = next(b for a, b in pairwise(arguments) if a in ("--wheel-dir", "--dest"))
        if verb == "wheel":
            write_wheel(folder, "cavga", ["tool>=1"])
        elif named:
            write_wheel(folder, named[0], [])
        else:
            write_wheel(folder, "tool", ['colours>2; sys_platform == "win32"', 'torch; extra == "train"'])
            shutil.copy(arguments[-1], folder)

    monkeypatch.setattr(bundle, "_pip", pip)
    return calls


def write_wheel(folder, name, requirements):
    Path(folder).mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 3", *(f"Requires-Dist: {r}" for r in requirements)]
    with zipfile.ZipFile(f"{folder}/{name}-3-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}-3.dist-info/METADATA", "\n".join(lines) + "\n\nText\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--platform", "linux"), "expected one of linux_x86_64"),
        ((*LINUX, "--python", "3.10"), "expected 3.11 or newer"),
        ((*LINUX, "--python", "python3"), "expected 3.11 or newer"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_done(arguments, message, tmp_path, capsys):
    assert main(["bundle", str(tmp_path / "none"), "--output", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["bundle", str(run), "--output", str(tmp_path), *LINUX]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_holds_no_exported_graph_is_named(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "model.onnx").unlink()
    (tmp_path / "text.onnx").write_text("no model")
    for model, message in (
        (copy, "model.onnx: no such model; `cavga export` writes one"),
        (tmp_path / "none", "no such model"),
        (tmp_path, "not a run folder"),
        (tmp_path / "text.onnx", "cannot be read as an ONNX model"),
    ):
        assert main(["bundle", str(model), "--output", str(tmp_path / "out"), *LINUX]) == 1
        complaint = capsys.readouterr().err
        assert message in complaint
        assert is_one_complaint(complaint)  # of a file without a sum that is said too
        assert not (tmp_path / "out").exists()


def test_where_pip_fails_its_reason_is_shown_and_no_folder_is_left(run, tmp_path, capsys, monkeypatch):
    for name, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(bundle, "_own_wheel", lambda _scratch: Path("not-a-package-that-is-there"))
    assert main(["bundle", str(run), "--output", str(tmp_path / "out"), *LINUX]) == 1
    complaint = capsys.readouterr().err
    assert "collecting wheels for linux_x86_64" in complaint
    assert "No matching distribution found for not-a-package-that-is-there" in complaint
    assert len(complaint.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("platform", "script"), [("linux_x86_64", "install.sh"), ("win_amd64", "install.bat")])
def test_a_bundle_holds_what_the_other_machine_needs(run, tmp_path, capsys, without_packages, platform, script):
    out = tmp_path / "new/out"
    arguments = [
        "bundle",
        str(run),
        "--output",
        str(out),
        "--platform",
        platform,
        "--python",
        "3.12",
        "--json",
    ]
    assert main(arguments) == 0
    # pip, which runs here, leaves out what a requirement asks for on the other machine alone.
    wheels = {"cavga", "tool"} | ({"colours"} if platform == "win_amd64" else set())
    assert {path.name.split("-")[0] for path in (out / "wheels").iterdir()} == wheels
    assert json.loads(capsys.readouterr().out)["wheels"] == len(wheels)
    assert (out / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()
    assert {path.name for path in out.iterdir()} == {
        *("wheels", "model.onnx", "model.onnx.json", "SHA256SUMS", "check.py", "README.txt"), script
    }  # fmt: skip
    sums = dict(reversed(line.split("  ", 1)) for line in (out / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert sums == {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != "SHA256SUMS"}
    assert len((out / "README.txt").read_text().splitlines()) == 5
    for name in ("README.txt", "check.py", script):
        text = (out / name).read_bytes()
        assert b"@" not in text.replace(b"@echo off", b"")
        assert b"3.12" in text
        assert (b"\r\n" in text) == (platform == "win_amd64")
    collected = next(call for call in without_packages if call[0] == "download")
    assert {"--only-binary=:all:", "3.12"} <= set(collected)
    assert any(platform.endswith(part) or part.endswith(platform.removeprefix("linux")) for part in collected)


def test_a_calibrated_model_is_bundled_with_its_thresholds(run, tmp_path, capsys, without_packages):
    copy = shutil.copytree(run, tmp_path / "run")
    new = Calibration("conformal", 9, 1, 0.1, 0.1, 0.1, 7.0, 8.0, 1.0, 6.0)
    photographs = {"count": 9, "folder": "new lamp", "sha256": "", "sha256s": []}
    save_thresholds(copy, StoredCalibration(new, "0", photographs, {}, "2020-01-01", "1"))
    assert main(["bundle", str(copy), "--output", str(tmp_path / "out"), *LINUX]) == 0
    assert "those of `cavga calibrate`" in capsys.readouterr().out
    detector = cavga.AnomalyDetector.load(tmp_path / "out/model.onnx")
    assert (detector.image_threshold, detector.pixel_threshold) == (7.0, 8.0)
    assert "model.onnx.calibration.json" in (tmp_path / "out/SHA256SUMS").read_text()


def test_the_check_refuses_another_python_and_damaged_files(run, tmp_path, without_packages):
    out = tmp_path / "out"
    bundle.make_bundle(run, out, platform="linux_x86_64", python=bundle.this_python())

    def check():
        done = subprocess.run([sys.executable, "-I", out / "check.py"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    assert check() == (0, "")
    content = (out / "model.onnx").read_bytes()
    (out / "model.onnx").write_bytes(content[:-1] + b"?")
    assert check() == (1, "model.onnx was changed after it was packed: copy the bundle again")
    installing = subprocess.run(["sh", out / "install.sh"], capture_output=True, text=True, check=False,
                                env={**os.environ, "PYTHON": sys.executable})  # fmt: skip
    assert installing.returncode == 1
    assert not (out / ".venv").exists()
    (out / "model.onnx").unlink()
    assert check() == (1, "model.onnx is missing: copy the bundle again")
    other = (out / "check.py").read_text().replace(bundle.this_python(), "3.99")
    (out / "check.py").write_text(other)
    code, complaint = check()
    assert code == 1
    assert complaint.startswith("this bundle is for Python 3.99")


def test_the_check_refuses_whatever_is_not_of_the_bundle(run, tmp_path, without_packages):
    out = tmp_path / "out"
    bundle.make_bundle(run, out, platform="linux_x86_64", python=bundle.this_python())

    def check(*flags):
        command = [sys.executable, *flags, out / "check.py"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
        return done.returncode, done.stderr.strip()

    assert check("-I") == (0, "")
    assert check() == (1, "start this as: python -I check.py")
    for name in ("hashlib.py", "wheels/evil-1-py3-none-any.whl", ".hidden", "new/file", "evil\x1b[31m.py"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        code, complaint = check("-I")
        assert (code, "is not of this bundle: move it away" in complaint, "\x1b" in complaint) == (1, True, False)
        (out / name).unlink()
    assert not (tmp_path / "ran").exists()
    for make in (os.mkfifo, lambda path: path.symlink_to(run / "model.onnx")):
        make(out / "extra")
        assert check("-I") == (1, "extra is not of this bundle: move it away")
        (out / "extra").unlink()
    (out / "model.onnx").rename(tmp_path / "model.onnx")
    (out / "model.onnx").symlink_to(tmp_path / "model.onnx")
    assert check("-I") == (1, "model.onnx is no plain file: copy the bundle again")
    (out / "model.onnx").unlink()
    (tmp_path / "model.onnx").rename(out / "model.onnx")
    (out / ".venv").mkdir()  # of an earlier installation, which the installer makes anew
    (out / ".venv/hashlib.py").touch()
    assert check("-I") == (0, "")
    (out / "SHA256SUMS").write_text("nonsense\n")
    assert check("-I") == (1, "SHA256SUMS was changed after it was packed: copy the bundle again")


def test_the_installers_shut_out_what_lies_in_the_folder():
    for script in (INSTALL_SH, INSTALL_BAT):
        assert "-I check.py" in script
        assert "-I -m venv --clear .venv" in script
        assert "-I -m pip" in script


def isolated():
    """The start of a command line that has no network, and the environment of one that must not use it."""
    tried = (
        subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False) if shutil.which("unshare") else None
    )
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    environment = {**os.environ, **nowhere, "PIP_NO_INDEX": "1", "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    return (["unshare", "-n"] if tried and tried.returncode == 0 else []), environment


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bundle is for Linux")
def test_a_bundle_installs_without_network_and_predicts_what_the_run_does(exported_run, category, tmp_path):
    out = tmp_path / "out"
    made = command("bundle", exported_run, "--output", out, *LINUX)
    assert made.returncode == 0, made.stderr
    start, environment = isolated()

    def run(*arguments):
        done = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("sh", out / "install.sh")
    assert "torch" not in run(out / ".venv/bin/python", "-m", "pip", "list")
    run(out / ".venv/bin/cavga", "predict", out / "model.onnx", category / "test", "--output", tmp_path / "results")
    lines = [json.loads(line) for line in (tmp_path / "results/predictions.jsonl").read_text().splitlines()]
    expected = cavga.AnomalyDetector.load_in_torch(exported_run, device="cpu").predict(category / "test")
    for line, prediction in zip(lines, expected, strict=True):
        assert line["score"] == pytest.approx(prediction.score, rel=1e-5, abs=1e-5)
        assert line["is_anomalous"] == prediction.is_anomalous


@pytest.mark.slow
def test_a_bundle_for_windows_is_collected(exported_run, tmp_path):
    made = command("bundle", exported_run, "--output", tmp_path / "out", "--platform", "win_amd64", "--python", "3.12")
    assert made.returncode == 0, made.stderr
    tags = {path.stem.split("-", 2)[2] for path in (tmp_path / "out/wheels").iterdir()}
    assert "cp312-cp312-win_amd64" in tags
    assert all(tag.endswith(("win_amd64", "none-any")) for tag in tags)


INTERRUPTED = """
import subprocess, sys, threading
from pathlib import Path
import cavga.exporting.bundle as bundle
from cavga.__main__ import run
slow = "import subprocess, sys, tempfile, time; tempfile.mkdtemp(prefix='pip-'); " \\
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300) # of-this-test']); time.sleep(300)"
run_it = bundle._run
bundle._run = lambda _command, scratch: run_it([sys.executable, "-c", slow], scratch)
run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_bundle_leaves_nothing_of_pips(run, tmp_path, number):
    output = tmp_path / "bundle"
    command = [sys.executable, "-c", INTERRUPTED, "bundle", run, "--output", output, *LINUX]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*.tmp/pip-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert (process.returncode, err) == (143, "cavga: terminated\n")
        assert list(tmp_path.iterdir()) == []
        assert not [path for path in Path("/proc").glob("[0-9]*/environ") if str(tmp_path) in said(path)]
    else:
        assert list(tmp_path.glob(".*.tmp/pip-*"))
        for path in Path("/proc").glob("[0-9]*/environ"):  # what nobody could end
            if str(tmp_path) in said(path):
                os.kill(int(path.parent.name), signal.SIGKILL)
        with writing_file(output):
            assert not list(tmp_path.glob(".*.tmp"))


def said(path):
    try:
        return path.read_text(errors="replace")
    except OSError:  # it is gone
        return ""
