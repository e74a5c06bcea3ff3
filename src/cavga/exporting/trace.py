"""A trained model traced to one graph, raw pixels to score, map and mask: ONNX model or torch.export program."""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from cavga.errors import ExportError
from cavga.inference.graph import InferenceGraph
from cavga.model.encoder import Encoder
from cavga.runs.model_json import METADATA_KEY
from cavga.shapes import Images, Photographs

OPSET = 20
INPUTS = ("photographs", "image_threshold", "pixel_threshold")
OUTPUTS = ("score", "is_anomalous", "anomaly_map", "mask")
TRACED_SHAPE = (2, 40, 48, 3)  # any will do: batch, height and width stay free


class ExportedGraph(nn.Module):
    """`InferenceGraph` with thresholds as inputs and plain tensors as outputs: `INPUTS` to `OUTPUTS`.

    `in_half`: the encoder computes in fp16. What stands on it never does: sums of squares overflow there.
    """

    def __init__(self, graph: InferenceGraph, *, in_half: bool = False) -> None:
        super().__init__()
        self.scoring = copy.deepcopy(graph).cpu().eval()
        if in_half:
            self.scoring.model.encoder = _InHalf(self.scoring.model.encoder)  # type: ignore[assignment]

    def forward(
        self, photographs: Photographs, image_threshold: Tensor, pixel_threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Uint8 photographs of any size; see the class."""
        output = self.scoring(photographs)
        is_anomalous = output.score >= image_threshold
        return output.score, is_anomalous, output.anomaly_map, output.anomaly_map >= pixel_threshold


class _InHalf(nn.Module):
    """An encoder in fp16 between maps in fp32."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.half()

    def forward(self, images: Images) -> dict[int, Tensor]:
        return {number: features.float() for number, features in self.encoder(images.half()).items()}


def onnx_model(graph: InferenceGraph, description: Mapping[str, Any], *, in_half: bool = False) -> onnx.ModelProto:
    """The graph as ONNX, thresholds with defaults, the model's description in its metadata under `METADATA_KEY`."""
    module = ExportedGraph(graph, in_half=in_half)
    with quiet():
        try:
            program = torch.onnx.export(
                module,
                _traced_inputs(),
                dynamo=True,
                dynamic_shapes=({0: "batch", 1: "height", 2: "width"}, {}, {}),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch cannot write this model as ONNX: {str(error).splitlines()[0]}") from None
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # where in our sources, on this machine, each comes from
        del node.metadata_props[:]
    thresholds = {"image_threshold": graph.image_threshold, "pixel_threshold": graph.pixel_threshold}
    for name, value in thresholds.items():  # an initializer of an input's name is its default
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.cpu().numpy(), name))
    onnx.helper.set_model_props(model, _metadata(description))
    onnx.checker.check_model(model)
    return model


def torch_program(graph: InferenceGraph, description: Mapping[str, Any]) -> bytes:
    """The graph as a `torch.export` program (.pt2)."""
    free = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    with quiet():
        program = torch.export.export(ExportedGraph(graph), _traced_inputs(), dynamic_shapes=(free, {}, {}))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=_metadata(description))
    return file.getvalue()


def _traced_inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(TRACED_SHAPE, dtype=torch.uint8), torch.tensor(0.0), torch.tensor(0.0)


def _metadata(description: Mapping[str, Any]) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(description, sort_keys=True)}


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say of themselves: errors are raised, and the rest is not for who uses the model."""
    # ONNX Runtime's quantization speaks through the root.
    loggers = [logging.getLogger(name) for name in ("root", "torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
