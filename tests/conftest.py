import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from cavga.cli.main import main
from cavga.config.backbones import BACKBONES
from cavga.config.presets import make_config
from cavga.progress import Silent

# All networks; the widest ones with the slow tests.
TESTED_BACKBONES = [
    pytest.param(name, marks=pytest.mark.slow) if name in ("wide_resnet50_2", "dinov2_vitb14") else name
    for name in BACKBONES
]


def save_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def texture(seed: int, *, size: int = 48) -> np.ndarray:
    """A smooth grey texture, always another one."""
    rng = np.random.default_rng(seed)
    small = rng.integers(90, 160, (size // 4, size // 4), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def write_category(
    root: Path, *, num_train: int = 12, num_good: int = 4, num_bad: int = 4, num_labelled: int = 0
) -> Path:
    """A small MVTec-style category: textures, and textures with a white square, some of them to train on."""
    for i in range(num_train):
        save_image(root / f"train/good/{i:03d}.png", texture(i))
    for i in range(num_good):
        save_image(root / f"test/good/{i:03d}.png", texture(100 + i))
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[10:22, 20:32] = 255
    for i in range(num_bad):
        save_image(root / f"test/square/{i:03d}.png", np.maximum(texture(200 + i), mask))
        save_image(root / f"ground_truth/square/{i:03d}_mask.png", mask)
    for i in range(num_labelled):
        save_image(root / f"train/square/{i:03d}.png", np.maximum(texture(400 + i), mask))
    return root


def small_config(preset: str = "recommended", variant: str = "r-u", **training):
    """A configuration that trains in a second."""
    return make_config(
        preset,
        {
            "data": {"image_size": (32, 32)},
            "model": {"variant": variant, "weights": "none", "latent_channels": 8, "decoder_width": 8},
            "training": {"epochs": 2, "batch_size": 5, "device": "cpu", **training},
        },
    )


class AfterEachStep(Silent):
    """Progress that calls something after each step of the training loop, with the epochs that are done by then."""

    def __init__(self, call: Callable[[float], None]) -> None:
        self._call, self._is_in_loop, self._epochs = call, False, 0.0

    def begin(self, phase, total=None, unit="", *, done=0):
        self._is_in_loop, self._epochs = unit == "epochs", done

    def advance(self, amount=1):
        self._epochs += amount
        if self._is_in_loop:
            self._call(self._epochs)


@contextmanager
def without_shape_checks() -> Iterator[None]:
    """The checks of tensor shapes under pytest cannot be traced; outside of tests there are none."""
    before = jaxtyping.config.jaxtyping_disable  # one such block can stand inside another
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session", autouse=True)
def without_exports() -> Iterator[None]:
    """Training does not end with an export, which takes as long as a hundred tests; that is tested alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cavga.training.train._export", lambda _run, progress: None)
        yield


@pytest.fixture
def with_exports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training ends with an export, as outside of tests."""
    from cavga.exporting.export import export_run

    monkeypatch.setattr("cavga.training.train._export", export_run)
    with without_shape_checks():
        yield


@pytest.fixture
def few_synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any training on synthetic anomalies, where it does not matter how well it goes."""
    monkeypatch.setattr("cavga.synthetic.crops.SYNTHETIC_PER_IMAGE", 1)
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 20)


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_category(tmp_path_factory.mktemp("data") / "Prüf teil")


@pytest.fixture(scope="session")
def run_folder(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of `category`, shared: copy it before changing it."""
    from cavga.training.train import train

    return train(category, tmp_path_factory.mktemp("runs") / "run", small_config())


@pytest.fixture(scope="session")
def exported_run(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smallest variant with its model.onnx, shared: copy it before changing it."""

    from cavga.exporting.trace import onnx_model
    from cavga.inference.seal import sealed_onnx
    from cavga.inference.torch_engine import load_run
    from cavga.training.train import train

    run = train(category, tmp_path_factory.mktemp("runs") / "exported", small_config(variant="d-u"))
    engine, description = load_run(run, "cpu")
    with without_shape_checks():
        model = onnx_model(engine.graph, description)
    content = sealed_onnx(model.SerializeToString())
    (run / "model.onnx").write_bytes(content)
    report = {
        "format": "onnx",
        "precision": "fp32",
        "weights_sha256": description["weights_sha256"],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (run / "model.onnx.json").write_text(json.dumps(report), encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def exported_model(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported file alone in its folder, shared: copy it before writing beside it."""
    return shutil.copy(exported_run / "model.onnx", tmp_path_factory.mktemp("exported") / "model.onnx")


GOLDEN = Path(__file__).parent / "models/format-1"


def golden_description() -> dict:
    """What a whole model.json says, without what saving adds."""
    description = json.loads((GOLDEN / "model.json").read_text())
    return {k: v for k, v in description.items() if k not in ("format_version", "weights_sha256", "sha256")}


def with_flipped_bit(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cavga(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "cavga", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """A command in this process: its exit code, stdout and stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def is_one_complaint(err: str) -> bool:
    """Whether stderr holds what a user's mistake may say, and no more."""
    return len(err.strip().splitlines()) <= 2 and "Traceback" not in err and err.startswith("cavga: ")
