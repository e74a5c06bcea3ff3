"""The networks that the encoders are made of, as data, so that settings can be checked without torch.

R's stages are numbered by stride: 1 to 4 for 4, 8, 16 and 32, and 0 for the stem, 2, where there is one. Each
ends with the last map of its stride. A vision transformer has one stride: its stages are quarters of its blocks.
"""

from dataclasses import dataclass

from cavga.config.variant import VARIANTS
from cavga.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
VIT_STRIDE = 16  # px of the input a patch of a vision transformer stands for, whatever its own are


@dataclass(frozen=True)
class Stage:
    """The channels and the stride of a stage's map; `layers` of a network of layers lead to it from the one before."""

    channels: int
    stride: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backbone:
    """A network up to its last map; `source` says where it comes from (cavga.model.networks).

    `mean` and `std` normalise the three colours of its input in [0, 1]. `margin`: zeros above and to the left of the
    normalised image, for a network whose maps would come out smaller than size / stride.
    """

    name: str
    stages: dict[int, Stage]
    margin: int = 0
    source: str = "torchvision"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def _resnet(name: str, channels: tuple[int, ...]) -> Backbone:
    stages = {
        0: Stage(64, 2, ("conv1", "bn1", "relu")),
        1: Stage(channels[0], 4, ("maxpool", "layer1")),
        2: Stage(channels[1], 8, ("layer2",)),
        3: Stage(channels[2], 16, ("layer3",)),
        4: Stage(channels[3], 32, ("layer4",)),
    }
    return Backbone(name, stages)


def _efficientnet_lite(name: str, channels: tuple[int, ...], last_blocks: tuple[int, ...]) -> Backbone:
    """`last_blocks`: of each stage, from 0, the number of its last block."""
    stages, first = {}, 0
    for number, (width, last) in enumerate(zip(channels, last_blocks, strict=True)):
        stem = ("_conv_stem", "_bn0", "_relu0") if number == 0 else ()
        stages[number] = Stage(width, 2 ** (number + 1), (*stem, *_blocks(first, last)))
        first = last + 1
    # Its input is (255 x - 127) / 128 of x in [0, 1].
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Backbone(name, stages, source="efficientnet_lite", mean=mean, std=std)


def _dinov2(name: str, channels: int) -> Backbone:
    return Backbone(name, {number: Stage(channels, VIT_STRIDE) for number in range(1, 5)}, source="dinov2")


def _features(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"features.{number}" for number in range(first, last + 1))


def _blocks(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"_blocks.{number}" for number in range(first, last + 1))


_BACKBONES = (
    _resnet("resnet18", (64, 128, 256, 512)),
    _resnet("wide_resnet50_2", (256, 512, 1024, 2048)),
    Backbone(
        "squeezenet1_0",
        {
            0: Stage(96, 2, _features(0, 1)),
            1: Stage(256, 4, _features(2, 5)),
            2: Stage(512, 8, _features(6, 10)),
            3: Stage(512, 16, _features(11, 12)),
        },
        # Its first convolution has no padding. The pools round up and so reach over the lower and the right
        # edge: with all the padding at the other two, a patch of stage 2 looks at its own place.
        margin=5,
    ),
    Backbone(
        "convnext_tiny",
        {
            1: Stage(96, 4, _features(0, 1)),
            2: Stage(192, 8, _features(2, 3)),
            3: Stage(384, 16, _features(4, 5)),
            4: Stage(768, 32, _features(6, 7)),
        },
    ),
    _efficientnet_lite("efficientnet_lite0", (16, 24, 40, 112, 320), (0, 2, 4, 10, 15)),
    _efficientnet_lite("efficientnet_lite1", (16, 24, 40, 112, 320), (0, 3, 6, 14, 20)),
    _efficientnet_lite("efficientnet_lite2", (16, 24, 48, 120, 352), (0, 3, 6, 14, 20)),
    _dinov2("dinov2_vits14", 384),
    _dinov2("dinov2_vitb14", 768),
)
BACKBONES = {backbone.name: backbone for backbone in _BACKBONES}
DEFAULT_BACKBONE = "resnet18"  # the paper's
DCGAN_STAGES = {1: Stage(64, 2), 2: Stage(128, 4), 3: Stage(256, 8), 4: Stage(512, 16)}


def encoder_stages(backbone: str, encoder: str | None) -> dict[int, Stage]:
    """The stages that the encoder of backbone "r" or "d" has; `encoder` None is the backbone's own."""
    if backbone == "d":
        return DCGAN_STAGES
    return BACKBONES[encoder or DEFAULT_BACKBONE].stages


def check_encoder(variant: str, encoder: str | None, stages: tuple[int, ...] | None) -> None:
    """Refuse another encoder for backbone D, and stages that the encoder does not have."""
    backbone = VARIANTS[variant].backbone
    if encoder is not None and backbone == "d":
        raise UsageError(f"encoder {encoder} is for the r variants: {variant} has DC-GAN's, leave it out")
    known = list(encoder_stages(backbone, encoder))
    if stages is not None and (not stages or list(stages) != sorted(set(stages)) or set(stages) - set(known)):
        raise UsageError(
            f"stages must be rising numbers from {known[0]} to {known[-1]} for encoder "
            f"{encoder or (DEFAULT_BACKBONE if backbone == 'r' else 'DC-GAN')}, got {list(stages)}"
        )
