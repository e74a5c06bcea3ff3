"""Run a model in PyTorch, on the processor or a GPU."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cavga.arrays import Photograph
from cavga.config.presets import from_dict
from cavga.config.schema import DEVICES, RunConfig
from cavga.errors import CavgaError, ModelFileError, UsageError, unknown_name
from cavga.images.resize import resized
from cavga.images.torch_resize import as_images
from cavga.inference.engine import EngineOutput, ResizedPhotograph
from cavga.inference.graph import InferenceGraph, ScoringGraph, graph_of
from cavga.model.arithmetic import exact_float32
from cavga.model.build import add_marks, add_prior, build_parts, read_former_classifier
from cavga.model.encoder import Encoder
from cavga.runs.checkpoint import load_model
from cavga.shapes import Images

ENCODER_PREFIX = "model.encoder."  # of the tensors of a run

# Threads stay in the parent when a process is forked, and the child would wait for them without end.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


class TorchEngine:
    """A scoring graph on a device."""

    def __init__(self, graph: ScoringGraph, device: torch.device) -> None:
        self.graph, self.device = graph.to(device).eval(), device
        self._loaded_in = os.getpid()

    @property
    def image_size(self) -> tuple[int, int]:
        return self.graph.image_size

    @property
    def image_threshold(self) -> float:
        return float(self.graph.image_threshold)

    @image_threshold.setter
    def image_threshold(self, value: float) -> None:
        self.graph.image_threshold.fill_(value)

    @property
    def pixel_threshold(self) -> float:
        return float(self.graph.pixel_threshold)

    @pixel_threshold.setter
    def pixel_threshold(self, value: float) -> None:
        self.graph.pixel_threshold.fill_(value)

    def resize(self, photograph: Photograph) -> ResizedPhotograph:
        return resized(photograph, self.image_size)

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        """As `Engine.score`; raises UsageError on a GPU in a process that was forked after loading."""
        if self.device.type == "cuda" and os.getpid() != self._loaded_in:
            raise UsageError("this detector was loaded onto a GPU before the process was forked: start the process by "
                             "multiprocessing's spawn, and load it there")  # fmt: skip
        with torch.inference_mode(), exact_float32():
            output = self.graph.score_images(self._images(photographs))
        return EngineOutput(*(value.cpu().numpy() for value in (output.score, output.anomaly_map, output.mask)))

    def class_attention(self, photograph: ResizedPhotograph) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A^cn and A^ca, the attention of the normal and of the anomalous class, in [0, 1] at the input size.

        Raises UsageError for a model without classifier.
        """
        if not isinstance(self.graph, InferenceGraph) or self.graph.model.classifier is None:
            raise UsageError("class attention needs a classifier: only the s and w variants have one")
        with torch.inference_mode(), exact_float32():
            maps = self.graph.class_attention(self._images([photograph])).cpu().numpy()
        return maps[0, 0], maps[0, 1]

    def _images(self, photographs: Sequence[ResizedPhotograph]) -> Images:
        return as_images(torch.from_numpy(np.stack(photographs)).to(self.device))


def load_run(run: Path, device: str) -> tuple[TorchEngine, dict[str, Any]]:
    """The model of a run folder and its model.json; raises ModelFileError."""
    tensors, description = load_model(run)
    try:
        graph = make_graph(from_dict(description["config"]), tensors)
    except (KeyError, TypeError, RuntimeError, CavgaError) as error:
        raise ModelFileError(f"{run}: model.json and model.safetensors do not fit together: {error}") from None
    return TorchEngine(graph, choose_device(device)), description


def make_graph(config: RunConfig, tensors: dict[str, Tensor], encoder: Encoder | None = None) -> InferenceGraph:
    """The inference graph with weights and thresholds from `tensors`; those of a given `encoder` stay as they are."""
    bias = "projection.bias" if config.model.latent_shape == "vector" else "bias"
    mu_channels = tensors[f"model.mu_head.{bias}"].numel()
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and then replaced: the caller's numbers stay
        size = config.data.input_size
        model = build_parts(config.model, image_size=size, mu_channels=mu_channels, encoder=encoder)
    add_prior(model, tensors, "model.prior.")
    read_former_classifier(model, tensors, "model.classifier.")
    add_marks(model, tensors, "model.marks.")
    graph = graph_of(model, config)
    missing, unexpected = graph.load_state_dict(tensors, strict=False)
    needed = [key for key in missing if is_needed(key, config)]
    if encoder is not None:
        needed = [key for key in needed if not key.startswith(ENCODER_PREFIX)]
    if needed or unexpected:
        raise ModelFileError(f"{len(needed)} tensors are missing and {len(unexpected)} are not the model's")
    return graph


def is_needed(key: str, config: RunConfig) -> bool:
    """Whether prediction needs the graph's tensor of this name: the decoder only for the residual."""
    if key.startswith("model.decoder."):
        return config.model.image_score == "residual"
    return not key.startswith("model.logvar_head.")


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for."""
    if name not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: no CUDA device was found; use device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
