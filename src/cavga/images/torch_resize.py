"""The one resize (cavga.images.resize) in torch, to the bit, and grey levels as values in [0, 1]."""

import torch
from jaxtyping import Float
from torch import Tensor

from cavga.images.resize import ONE
from cavga.shapes import Images, Photographs, ResizedPhotographs


def resize(photographs: Photographs, size: tuple[int, int]) -> ResizedPhotographs:
    """As `cavga.images.resize.resized`, of a batch in torch, to the bit: what an exported graph begins with."""
    columns = _filter_weights(photographs.shape[2], size[1], photographs.device)
    rows = _filter_weights(photographs.shape[1], size[0], photographs.device)
    lines = photographs.transpose(2, 3).float().flatten(0, 2)  # one product of all; exporters make many of a batch
    narrow = _rounded(lines @ columns.T).view(photographs.shape[0], photographs.shape[1], 3 * size[1])
    small = _rounded(rows @ narrow)
    return small.view(-1, size[0], 3, size[1]).transpose(2, 3).to(torch.uint8)


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + ONE // 2) / ONE).floor()


def _filter_weights(num_in: int, num_out: int, device: torch.device) -> Float[Tensor, "{num_out} inputs"]:
    inputs = torch.arange(num_in, dtype=torch.float64, device=device) + 0.5
    scale = (inputs[-1] + 0.5) / num_out  # of a tensor: the number of inputs of an exported graph is not known
    centres = (torch.arange(num_out, dtype=torch.float64, device=device) + 0.5) * scale
    weights = (1 - (inputs - centres[:, None]).abs() / scale.clamp_min(1)).clamp_min(0)
    return (weights / weights.sum(dim=1, keepdim=True) * ONE).round().float()


def as_images(photographs: Photographs) -> Images:
    """Grey levels as what a model takes: channels first, in [0, 1]."""
    return photographs.permute(0, 3, 1, 2).float() / 255
