"""The encoder of an exported graph in INT8, its ranges measured on photographs; what stands on it stays in fp32.

INT8 would kill the directions of low variance, which carry the signal: the latent, the prior and the scores are left
as they are.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from cavga.engines.engine import Photograph

ENCODER = "scoring.model.encoder."  # what the names of its weights begin with
QUANTIZED = ("Conv", "MaxPool", "Add")


class _Photographs(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, photographs: Sequence[Photograph]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{"photographs": one[None]} for one in photographs])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def quantized(model: onnx.ModelProto, photographs: Sequence[Photograph]) -> onnx.ModelProto:
    """The model with its encoder's convolutions in INT8: weights by channel, activations by tensor."""
    with tempfile.TemporaryDirectory(prefix="cavga-") as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Photographs(photographs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_quantize=encoder_nodes(model),
            per_channel=True,
            reduce_range=True,  # processors without VNNI overflow 16 bits otherwise
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False},
        )
        result = onnx.load(target)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def encoder_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the encoder's nodes: its convolutions, and what is computed from nothing but them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inside: set[str] = set()  # tensors that the encoder has computed
    names = []
    for node in model.graph.node:
        given = [name for name in node.input if name and name not in constants]
        is_convolution = any(name.startswith(ENCODER) for name in node.input)
        if is_convolution or (given and node.op_type in (*QUANTIZED, "Relu") and inside.issuperset(given)):
            inside.update(node.output)
            names.append(node.name)
    return names
