"""DINOv2's ViT-S/14 and ViT-B/14 as an encoder, with the tensor names of their published files.

The network: Dosovitskiy et al. 2021 as Oquab et al. 2023 have it: patches of 14 pixels, a class token, position
embeddings of a 37 x 37 grid that are interpolated to another, pre-norm blocks with LayerScale (Touvron et al. 2021), no
register tokens. A stage is a quarter of the blocks; its map is what the published code gives out of a block in the
middle: the patches' tokens under the last norm, without the class token.

All stages have one stride. An image is resized to 14 / 16 of its sides, so that a patch is 16 pixels of the input.
"""

from collections import OrderedDict
from typing import NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.config.backbones import VIT_STRIDE, Backbone
from cavga.errors import ModelFileError
from cavga.shapes import Images

PATCH = 14  # px
GRID = 37  # patches a side of the position embeddings: of images of 518 px
DEPTH, BLOCKS_PER_STAGE = 12, 3
HEAD_CHANNELS = 64
MLP_RATIO = 4
NORM_EPS = 1e-6
EMBEDDING_STD = 0.02  # of random weights
CHANNELS = {"dinov2_vits14": 384, "dinov2_vitb14": 768}
CUBIC = -0.75  # the free parameter of torch's bicubic interpolation
# The published code asks for an output this much larger than it is, so that rounding does not make it smaller. The
# published weights are used with it.
INTERPOLATION_OFFSET = 0.1

Tokens = Float[Tensor, "batch tokens channels"]


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = channels // HEAD_CHANNELS
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tokens) -> Tokens:
        # Plain products: the fused attention of torch has no second derivative on a CPU.
        heads = self.qkv(tokens).unflatten(2, (3, self.num_heads, HEAD_CHANNELS))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, channels of a head)
        weights = (query * HEAD_CHANNELS**-0.5 @ key.mT).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """One factor a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, tokens: Tokens) -> Tokens:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then two layers on each token by itself; what comes of each is scaled and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(channels), _norm(channels)
        self.attn = Attention(channels)
        self.ls1, self.ls2 = LayerScale(channels), LayerScale(channels)
        wide = MLP_RATIO * channels
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(channels, wide), gelu=nn.GELU(), fc2=nn.Linear(wide, channels))
        )

    def forward(self, tokens: Tokens) -> Tokens:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class Dinov2(nn.Module):
    """The tensors of a published file, with random values; `Dinov2Encoder` computes with them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        channels = CHANNELS[name]
        self.cls_token = nn.Parameter(EMBEDDING_STD * torch.randn(1, 1, channels))
        self.pos_embed = nn.Parameter(EMBEDDING_STD * torch.randn(1, 1 + GRID * GRID, channels))
        self.mask_token = nn.Parameter(torch.zeros(1, channels))  # of its training alone
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, channels, PATCH, stride=PATCH)))
        self.blocks = nn.ModuleList(Block(channels) for _ in range(DEPTH))
        self.norm = _norm(channels)


class Dinov2Encoder(nn.Module):
    """The blocks of the first `depth` stages; names of its parameters as in the published file."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, *, depth: int, frozen: bool) -> None:
        super().__init__()
        self.backbone, self.has_fixed_norm = backbone, frozen
        self.stage_channels = {number: stage.channels for number, stage in backbone.stages.items()}
        whole = Dinov2(backbone.name)
        self.cls_token, self.pos_embed = whole.cls_token, whole.pos_embed
        self.patch_embed, self.norm = whole.patch_embed, whole.norm
        self.blocks = whole.blocks[: depth * BLOCKS_PER_STAGE]
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(not frozen)

    def forward(self, images: Images) -> dict[int, Tensor]:
        """The feature map of every stage up to the depth, by its number; sides of images are multiples of 16."""
        rows, columns = images.shape[2] // VIT_STRIDE, images.shape[3] // VIT_STRIDE
        tokens, stages = self._embedded(self.normalised(images), rows, columns), {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number % BLOCKS_PER_STAGE == 0:
                patches = self.norm(tokens)[:, 1:]
                stages[number // BLOCKS_PER_STAGE] = patches.mT.unflatten(2, (rows, columns))
        return stages

    def normalised(self, images: Images) -> Images:
        """What the first layer sees, before it is resized."""
        return (images - self.mean) / self.std

    def _embedded(self, images: Images, rows: int, columns: int) -> Tokens:
        """Class token and patches, each with its place."""
        size = (PATCH * rows, PATCH * columns)
        resized = functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        patches = self.patch_embed(resized).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return tokens + self._positions(rows, columns)

    def _positions(self, rows: int, columns: int) -> Tokens:
        """The position embeddings of another grid, by bicubic interpolation; the class token's stays."""
        if (rows, columns) == (GRID, GRID):
            return self.pos_embed
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:].mT.reshape(1, -1, GRID, GRID)
        # As two products, which every runtime computes alike; torch's interpolation has options that exports lack.
        down, across = (cubic_weights(GRID, number).to(of_patches) for number in (rows, columns))
        interpolated = down @ (of_patches @ across.T)
        return torch.cat([of_class, interpolated.flatten(2).mT], dim=1)


def cubic_weights(num_in: int, num_out: int) -> Float[Tensor, "{num_out} {num_in}"]:
    """The matrix that takes one axis of the position embeddings to another length, by bicubic interpolation.

    As the published code has it: corners not aligned, borders repeated, no smoothing, INTERPOLATION_OFFSET (Keys 1981).
    """
    scale = (num_out + INTERPOLATION_OFFSET) / num_in
    centres = (torch.arange(num_out, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = centres.floor()[:, None] + torch.arange(-1, 3)
    distances = (centres[:, None] - taps).abs()
    near = ((CUBIC + 2) * distances - (CUBIC + 3)) * distances**2 + 1
    far = ((distances - 5) * distances + 8) * distances * CUBIC - 4 * CUBIC
    weights = torch.where(distances <= 1, near, far)
    is_of = taps.clamp(0, num_in - 1)[..., None] == torch.arange(num_in)
    return (weights[..., None] * is_of).sum(dim=1)


def refuse_imagenet(name: str) -> NoReturn:
    """Raise ModelFileError: these weights are not ImageNet's, and are never fetched."""
    raise ModelFileError(
        f"encoder {name} has weights of its own, which are not fetched: download {name}_pretrain.pth of the DINOv2 "
        f"repository and give it as weights (--weights {name}_pretrain.pth)"
    )


def _norm(channels: int) -> nn.LayerNorm:
    return nn.LayerNorm(channels, eps=NORM_EPS)
