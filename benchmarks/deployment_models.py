"""What `deployment.py` measures: models, what runs them, and images."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from cavga.config.presets import make_config
from cavga.data.catalog import load_catalog
from cavga.data.dataset import TrainingImages
from cavga.exporting.export import export_run
from cavga.exporting.trace import OPSET, onnx_model
from cavga.images.decode import read_image
from cavga.images.torch_resize import as_images
from cavga.inference.exported_formats import FORMATS
from cavga.inference.graph import graph_of
from cavga.inference.torch_engine import load_run
from cavga.model.build import build
from cavga.runs.model_json import FORMAT_VERSION
from cavga.training.fit import fit_whitened

SIZE = (256, 256)
NUM_THREADS = 2
EXPORTS = (("onnx", "fp32"), ("onnx", "fp16"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8"))
SMALL = 32  # px of the model of the row about memory


class Runner:
    """A model in a runtime: a batch in, a list of arrays out."""

    def __init__(self, call: Callable[[NDArray[Any]], list[Any]], *, is_uint8: bool) -> None:
        self._call, self.is_uint8 = call, is_uint8

    def __call__(self, batch: NDArray[Any]) -> list[Any]:
        return self._call(batch)


def runner(path: Path, format: str) -> Runner:
    """An ONNX file in ONNX Runtime ("onnx") or OpenVINO ("openvino"); inputs but the first keep their defaults."""
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = NUM_THREADS, 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        return Runner(lambda batch: session.run(None, {first.name: batch}), is_uint8="uint8" in first.type)
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": NUM_THREADS, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(openvino.Core().read_model(path), "CPU", settings)
    is_uint8 = compiled.inputs[0].get_element_type() == openvino.Type.u8

    def run(batch: NDArray[Any]) -> list[Any]:
        result = compiled({0: batch})
        return [result[output] for output in compiled.outputs]

    return Runner(run, is_uint8=is_uint8)


def exported(folder: Path, format: str, precision: str = "fp32") -> Path:
    """Where an export lies."""
    stem = "model" if precision == "fp32" else f"model-{precision}"
    return folder / f"{stem}{FORMATS[format].suffix}"


def write_ours(run: Path, data: Path, folder: Path) -> None:
    """The run's exports, and its encoder by itself."""
    for format, precision in EXPORTS:
        path = exported(folder, format, precision)
        if not path.is_file():
            export_run(run, path, format=format, precision=precision, data=data)
    if not (folder / "encoder.onnx").is_file():
        engine, _ = load_run(run, "cpu")
        _write_encoder(engine.graph.model.encoder, folder / "encoder.onnx")  # type: ignore[union-attr]


class _Stages(nn.Module):
    """Uint8 photographs -> the maps of the encoder's stages."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.eval()

    def forward(self, photographs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(as_images(photographs)).values())


def _write_encoder(encoder: nn.Module, path: Path) -> None:
    """The encoder as ONNX: the batch is free, the size is not."""
    images = torch.zeros(2, *SIZE, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        _Stages(encoder).eval(),
        (images,),
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        input_names=["photographs"],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    onnx.save(program.model_proto, path)


def write_small_model(path: Path) -> None:
    """An exported model that takes next to no time: 32 px, 8 channels, random weights."""
    torch.manual_seed(0)
    settings = {
        "data": {"image_size": (SMALL, SMALL)},
        "model": {"variant": "r-u", "weights": "none", "latent_channels": 8, "decoder_width": 8},
    }
    config = make_config("recommended", settings)
    model = build(config.model, image_size=config.data.input_size)
    images = np.random.default_rng(0).integers(0, 256, (12, SMALL, SMALL, 3), dtype=np.uint8)
    fit_whitened(model, TrainingImages(images, len(images)), config, device=torch.device("cpu"))
    description = {
        "format_version": FORMAT_VERSION,
        "weights_sha256": "",
        "preprocessing": {"image_size": [SMALL, SMALL]},
        "calibration": {"image_threshold": 1.0, "pixel_threshold": 1.0},
    }
    onnx.save(onnx_model(graph_of(model, config), description), path)


def photographs(batch: int) -> NDArray[np.uint8]:
    """Noise: what is in it costs nothing."""
    return np.random.default_rng(0).integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)


def as_theirs(batch: int) -> NDArray[np.float32]:
    """The same in [0, 1], channels first."""
    return np.ascontiguousarray(photographs(batch).transpose(0, 3, 1, 2), dtype=np.float32) / 255


def png_files(data: Path, folder: Path, count: int) -> Path:
    """Test images as PNG at their own size."""
    folder.mkdir(exist_ok=True)
    records = load_catalog(data).split("test")
    for i, position in enumerate(np.linspace(0, len(records) - 1, count).astype(int)):
        if not (folder / f"{i:03d}.png").is_file():
            Image.fromarray(read_image(records[position].path)).save(folder / f"{i:03d}.png")
    return folder


def fill(folder: Path, count: int) -> None:
    """Many names of one small image."""
    folder.mkdir(exist_ok=True)
    first = folder / "00000.png"
    Image.fromarray(photographs(1)[0, :64, :64]).save(first)
    for i in range(1, count):
        if not (folder / f"{i:05d}.png").exists():
            os.link(first, folder / f"{i:05d}.png")
