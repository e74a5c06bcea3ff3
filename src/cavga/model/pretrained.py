"""Encoder weights: ImageNet's through torchvision's cache, or a file; never an unpickled object."""

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor

from cavga.config.backbones import BACKBONES
from cavga.errors import ModelFileError, UsageError
from cavga.model.encoder import DcganEncoder, Encoder, fix_norm
from cavga.model.networks import imagenet_file, whole_network


def load_encoder_weights(encoder: Encoder, source: str) -> None:
    """Load `source` ("imagenet", "none" or a file) into the encoder.

    Keys of stages that the encoder does not have, and the classifier's, may be missing or extra;
    a key that the encoder needs may not. Raises ModelFileError.
    """
    if source == "none":
        return
    path = _imagenet_file(encoder) if source == "imagenet" else Path(source)
    if source != "imagenet" and not path.is_file():
        raise UsageError(f"no such weights file: {path} (or say imagenet or none)")
    state = read_tensors(path)
    needed = encoder.state_dict()
    fault = _fault(encoder, needed, state)
    if fault is not None:
        raise _misfit(encoder, state, path, fault)
    encoder.load_state_dict({key: state[key] for key in needed if key in state}, strict=False)
    fix_norm(encoder)


def _known(encoder: Encoder) -> set[str]:
    """The tensors of the whole network that an encoder is a part of."""
    if isinstance(encoder, DcganEncoder):
        return set(encoder.state_dict())
    with torch.device("meta"):
        return set(whole_network(encoder.backbone.name).state_dict())


def _fault(encoder: Encoder, needed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Why the tensors of a file are not those of an encoder, which needs some, or None."""
    missing = [key for key in needed if key not in state and not key.endswith("num_batches_tracked")]
    if state and not any(key in state for key in needed):
        return f"none of its tensors is one of this encoder's; its first is {next(iter(state))}"
    if missing:
        layers = list(dict.fromkeys(_layer(key) for key in missing))
        lacking = ", ".join(layers[:3]) + (", ..." if len(layers) > 3 else "")
        return f"lacks {len(missing)} tensors of {lacking} (with lower --stages the encoder ends earlier)"
    for key, tensor in needed.items():
        if key in state and state[key].shape != tensor.shape:
            return f"{key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
    # A deeper network of the same family has all that is needed, and more blocks in the same layers; a transformer
    # with register tokens has these beside its class token.
    used, is_flat = {_layer(key) for key in needed}, any("." not in key for key in needed)
    beside = [key for key in state if _layer(key) in used or (is_flat and "." not in key)]
    foreign = [key for key in beside if key not in needed]
    if foreign:  # the network is built for its names, so only where there is need
        known = _known(encoder)
        foreign = [key for key in foreign if key not in known]
    return f"{foreign[0]} is not one of this encoder's tensors" if foreign else None


def _misfit(encoder: Encoder, state: Mapping[str, Tensor], path: Path, fault: str) -> ModelFileError:
    """The error for a file that does not fit: names its network where it is another one."""
    own = _name(encoder)
    found = _network_of(state)
    if found is None or found == own:
        return ModelFileError(f"{path} does not fit encoder {own}: {fault}")
    return ModelFileError(
        f"{path} holds the weights of {found}, not of {own}: give --encoder {found} (variant r), or a file of {own}"
    )


def _network_of(state: Mapping[str, Tensor]) -> str | None:
    """The network whose tensors these are, by name and shape; some may be missing."""
    for name in BACKBONES:
        with torch.device("meta"):  # shapes without memory
            shapes = {key: tensor.shape for key, tensor in whole_network(name).state_dict().items()}
        if state and all(shapes.get(key) == tensor.shape for key, tensor in state.items()):
            return name
    return None


def _name(encoder: Encoder) -> str:
    return "DC-GAN" if isinstance(encoder, DcganEncoder) else encoder.backbone.name


def _layer(key: str) -> str:
    """What a tensor belongs to: "layer3", "features.12", "blocks.0", "conv1"."""
    found = re.match(r"[a-z_]+\.\d+(?=\.)", key)
    return found[0] if found else key.partition(".")[0]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth or .pt state dict read with weights_only."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelFileError(f"no such weights file: {path}") from None
    except UnpicklingError as error:
        if "Unsupported" not in str(error) and "GLOBAL" not in str(error):
            raise ModelFileError(f"{path} cannot be read as weights: it is no state dict") from None
        raise ModelFileError(
            f"{path} holds more than plain tensors and is not read: save the state dict as .safetensors"
        ) from None
    except Exception as error:
        # Bytes that are no weights make torch's reader fail in any way it likes (IndexError, KeyError, ...).
        raise ModelFileError(f"{path} cannot be read as weights: {_first_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelFileError(f"{path} is not a state dict: expected names mapped to tensors")
    return content


def _imagenet_file(encoder: Encoder) -> Path:
    if isinstance(encoder, DcganEncoder):
        raise UsageError("there are no ImageNet weights for variant d: expected --weights none, or variant r")
    return imagenet_file(encoder.backbone.name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
