"""A folder that brings a model and cavga to a machine without network: wheels, sums and installers. No torch."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cavga._version import __version__
from cavga.atomic_files import temporary_of
from cavga.calibration.stored import calibration_path
from cavga.data.manifest import sha256_of
from cavga.errors import CavgaError, ModelFileError, UsageError, unknown_name
from cavga.exporting.bundle_files import CHECK, INSTALL_BAT, INSTALL_SH, README
from cavga.inference.detector import AnomalyDetector
from cavga.inference.engine import ExportedEngine
from cavga.inference.exported_files import export_report_path
from cavga.output_lock import writing_file
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import ONNX_FILE, load_description

SUMS_FILE = "SHA256SUMS"
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Platform:
    """A kind of machine: the tags of wheels that run there, best first, and what markers of requirements see."""

    tags: tuple[str, ...]
    markers: dict[str, str]


PLATFORMS = {
    "linux_x86_64": Platform(
        ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
        {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    ),
    "win_amd64": Platform(
        ("win_amd64",),
        {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
    ),
}


@dataclass(frozen=True)
class BundleSummary:
    """What `make_bundle` wrote; `num_bytes` is the size of the whole folder.

    `is_calibrated`: with the thresholds of `cavga calibrate`, in model.onnx.calibration.json.
    """

    num_wheels: int
    num_bytes: int
    is_calibrated: bool


def this_python() -> str:
    """The version of the running Python as `--python` takes it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def check_bundle(output: Path, platform: str, python: str) -> None:
    """Raise UsageError where a bundle cannot be what is asked for, before anything is done."""
    if platform not in PLATFORMS:
        raise unknown_name("platform", platform, PLATFORMS)
    parts = re.fullmatch(r"3\.(\d+)", python)
    if not parts or (3, int(parts[1])) < OLDEST_PYTHON:
        raise UsageError(f"--python: expected 3.11 or newer, as in 3.12; got {python}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output} is there already: choose a new folder")


def make_bundle(model: Path, output: Path, *, platform: str, python: str, progress: Progress = SILENT) -> BundleSummary:
    """Write the folder `output`: the exported graph, every wheel that predicting needs, sums and installers.

    `model` is an exported `.onnx` or a run folder that holds one. Wheels come from wherever pip is set up to look.
    Raises UsageError, ModelFileError, and CavgaError where pip finds no wheel; no folder is left then.
    """
    check_bundle(output, platform, python)
    exported = exported_file(model)
    # What a dead one left beside it goes by its name, pip's own temporary folders with it.
    with writing_file(output), _scratch(output) as scratch:
        folder = scratch / "bundle"
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        shutil.copyfile(exported, folder / ONNX_FILE)
        if export_report_path(exported).is_file():
            shutil.copyfile(export_report_path(exported), export_report_path(folder / ONNX_FILE))
        if is_calibrated := calibration_path(model).is_file():
            shutil.copyfile(calibration_path(model), calibration_path(folder / ONNX_FILE))
        progress.begin("wheel of cavga")
        own_wheel = _own_wheel(scratch)
        progress.begin("wheels it needs")
        _collect(own_wheel, wheels, platform, python, scratch)
        progress.begin("sums")
        _write_installers(folder, platform, python)
        _write_sums(folder)
        if output.exists():  # and is empty, as `check_bundle` saw: Windows renames onto nothing that is there
            output.rmdir()
        folder.rename(output)
    sizes = [path.stat().st_size for path in output.rglob("*") if path.is_file()]
    return BundleSummary(len(list((output / "wheels").iterdir())), sum(sizes), is_calibrated)


def exported_file(model: Path) -> Path:
    """The exported graph that `model` is or holds, after it was loaded once; raises ModelFileError."""
    path = model if model.suffix.lower() == ".onnx" else model / ONNX_FILE
    if not path.exists():
        if path != model:
            load_description(model)  # says what is wrong with what is no run folder
        raise ModelFileError(f"{path}: no such model; `cavga export` writes one")
    detector = AnomalyDetector.load(model, device="cpu")
    assert isinstance(detector.engine, ExportedEngine)
    has_own = detector.engine.description["calibration"] == detector.description["calibration"]
    if not has_own and not calibration_path(model).is_file():
        raise ModelFileError(
            f"{path} was exported with other thresholds than {model} has now: `cavga export {model}` writes it again"
        )
    return path


def missing_requirements(wheels: Path, platform: str, python: str) -> list[Requirement]:
    """What the wheels of a folder need on `platform` and is not among them.

    pip reads the markers of requirements (`; sys_platform == "win32"`) as the machine that it runs on.
    """
    markers = {
        **PLATFORMS[platform].markers,
        **{"python_version": python, "python_full_version": f"{python}.0", "extra": ""},
        **{"implementation_name": "cpython", "platform_python_implementation": "CPython"},
    }
    found = sorted(wheels.glob("*.whl"))
    names = {canonicalize_name(path.name.split("-")[0]) for path in found}
    needed = [Requirement(line) for path in found for line in _requirements(path)]
    return [
        requirement
        for requirement in needed
        if canonicalize_name(requirement.name) not in names
        and (requirement.marker is None or requirement.marker.evaluate(markers))
    ]


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []


def _own_wheel(scratch: Path) -> Path:
    """The wheel of cavga: built from a checkout, or downloaded in the version that is installed."""
    package = Path(__file__).parents[1]
    checkout = package.parent.parent
    target = scratch / "own"
    if (checkout / "pyproject.toml").is_file() and package.parent.name == "src":
        copy = scratch / "checkout"  # a build leaves files, and takes up those of the build before
        shutil.copytree(package, copy / "src/cavga", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(checkout / name, copy / name)
        _pip(
            f"building cavga from {checkout}", "wheel", "--no-deps", "--wheel-dir", str(target), str(copy),
            scratch=scratch,
        )  # fmt: skip
    else:
        own = ("--no-deps", "--only-binary=:all:", f"cavga=={__version__}")
        _pip(
            f"downloading cavga {__version__}, as this is no checkout of its source,",
            "download",
            "--dest",
            str(target),
            *own,
            scratch=scratch,
        )
    (wheel,) = target.glob("cavga-*.whl")
    return wheel


def _collect(own_wheel: Path, wheels: Path, platform: str, python: str, scratch: Path) -> None:
    tags = [flag for tag in PLATFORMS[platform].tags for flag in ("--platform", tag)]
    target = ("--only-binary=:all:", "--implementation", "cp", "--python-version", python, *tags)
    wanted = [str(own_wheel)]
    while wanted:
        _pip(
            f"collecting wheels for {platform} and Python {python}", "download", "--dest", str(wheels), *target,
            *wanted, scratch=scratch,
        )  # fmt: skip
        wanted = [f"{item.name}{item.specifier}" for item in missing_requirements(wheels, platform, python)]


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A hidden folder beside the bundle, for it and for what pip makes on the way."""
    folder = temporary_of(output)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pip(doing: str, *arguments: str, scratch: Path) -> None:
    """Run pip, whose own configuration says where packages come from; raises CavgaError."""
    if importlib.util.find_spec("pip") is None:
        raise CavgaError(f"{doing} takes pip, which this environment lacks: `python -m ensurepip` brings it")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    exit_code, said = _run(command, scratch)
    if exit_code:
        errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE) or said.strip().splitlines() or ["?"]
        raise CavgaError(f"{doing} failed; pip says: {errors[-1]}")


def _run(command: list[str], scratch: Path) -> tuple[int, str]:
    """The exit code of a command and what it said on stderr; its temporary files lie in `scratch`."""
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    # In a session of its own, so that it can be ended with all that it started: those would go on writing.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="backslashreplace",
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate()
    except BaseException:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        raise
    return process.returncode, said


def _write_installers(folder: Path, platform: str, python: str) -> None:
    texts = {"check.py": CHECK, "README.txt": README}
    texts |= {"install.bat": INSTALL_BAT} if platform == "win_amd64" else {"install.sh": INSTALL_SH}
    for name, text in texts.items():
        filled = text.replace("@PYTHON@", python).replace("@PLATFORM@", platform).replace("@VERSION@", __version__)
        line_end = "\r\n" if platform == "win_amd64" else "\n"
        (folder / name).write_text(filled, encoding="utf-8", newline=line_end)
    if platform != "win_amd64":
        (folder / "install.sh").chmod(0o755)


def _write_sums(folder: Path) -> None:
    """As `sha256sum --check` reads them."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        lines.append(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n")
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")
