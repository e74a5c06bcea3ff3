"""The encoder of an exported graph in INT8, its ranges measured on photographs; what stands on it stays in fp32.

INT8 would kill the directions of low variance, which carry the signal: the latent, the prior and the scores are left
as they are.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from cavga.arrays import Photograph
from cavga.exporting.trace import quiet

ENCODER = "scoring.model.encoder."  # what the names of its weights begin with
QUANTIZED = ("Conv", "MaxPool", "Add")


class _Photographs(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, photographs: Iterable[Photograph], others: Mapping[str, NDArray[Any]]) -> None:
        self._feeds = ({"photographs": one[None], **others} for one in photographs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def quantized(model: onnx.ModelProto, photographs: Iterable[Photograph]) -> onnx.ModelProto:
    """The model with its encoder's convolutions in INT8: weights by channel, activations by tensor.

    One photograph at a time is taken and held.
    """
    defaults = _defaults(model)
    with tempfile.TemporaryDirectory(prefix="cavga-") as folder, quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(_without(model, defaults), source)
        quantize_static(
            source,
            target,
            _Photographs(
                photographs, {name: np.array(onnx.numpy_helper.to_array(defaults[name])) for name in defaults}
            ),
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
    result.graph.initializer.extend(defaults.values())
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def _defaults(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The inputs that have a default, which is an initializer of their name."""
    inputs = {value.name for value in model.graph.input}
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in inputs}


def _without(model: onnx.ModelProto, defaults: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """The model without defaults of its inputs: ONNX Runtime warns of each, here to stderr, past all settings."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in defaults)
    return bare


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
