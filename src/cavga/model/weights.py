"""Encoder weights: ImageNet's through torchvision's cache, or a file; never an unpickled object."""

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor

from cavga.errors import ModelFileError, UsageError
from cavga.model.encoder import Encoder, fix_norm


def load_encoder_weights(encoder: Encoder, source: str) -> None:
    """Load `source` ("imagenet", "none" or a file) into the encoder.

    Keys of stages that the encoder does not have, and the classifier's, may be missing or extra;
    a key that the encoder needs may not. Raises ModelFileError.
    """
    if source == "none":
        return
    path = imagenet_file() if source == "imagenet" else Path(source)
    if source != "imagenet" and not path.is_file():
        raise UsageError(f"no such weights file: {path} (or say imagenet or none)")
    state = read_tensors(path)
    needed = encoder.state_dict()
    missing = [key for key in needed if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        stages = sorted({match[0] for key in missing if (match := re.match(r"layer\d|stages\.\d", key))})
        lacking = ", ".join(stages or missing[:3])
        raise ModelFileError(
            f"{path} lacks {len(missing)} tensors of {lacking}: it does not fit this encoder "
            f"(with --stages 3 the encoder ends at layer3)"
        )
    for key, tensor in needed.items():
        if key in state and state[key].shape != tensor.shape:
            raise ModelFileError(f"{path}: {key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}")
    encoder.load_state_dict({key: state[key] for key in needed if key in state}, strict=False)
    fix_norm(encoder)


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


def imagenet_file() -> Path:
    """ResNet-18's ImageNet weights in torch's own cache, downloaded on first use."""
    from torchvision.models import ResNet18_Weights

    url = ResNet18_Weights.IMAGENET1K_V1.url
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        expected = name.removesuffix(".pth").rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
    except (OSError, RuntimeError):
        raise ModelFileError(
            f"ImageNet weights are not here and could not be downloaded: save {url} as {path} "
            f"(or give a file with --weights FILE). Without them: --weights none, or --variant d-u"
        ) from None
    return path


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
