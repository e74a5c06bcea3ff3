"""The discriminator D of Eq. 2: DC-GAN's, at its own 64 x 64, or at 32 x 32 for images no larger."""

import torch
from torch import Tensor, nn

from cavga.model.encoder import DcganEncoder, initialise_dcgan
from cavga.shapes import Images, Logits, ResizedImages

# Celeb-A's DC-GAN takes 64 px and its last layer spans 4 x 4 patches; a larger input would not fit
# its weights, so every image is shrunk to this (docs/decisions/0003).
INPUT_SIZE = 64
LAST_MAP_SIDE = 4  # a side, that the last layer spans


def input_size_for(image_size: tuple[int, int]) -> int:
    """The side of what the discriminator of images of this size sees."""
    return min(INPUT_SIZE, *image_size)  # sides are multiples of 32


class Discriminator(nn.Module):
    """Images of any size -> one logit each: positive for "a photograph", negative for "a reconstruction".

    They are shrunk to `input_size`, a power of two from 8 to 64. Below 64 there are fewer convolutions: to enlarge
    small images takes four times as long and shows nothing new.
    """

    def __init__(self, *, input_size: int = INPUT_SIZE) -> None:
        super().__init__()
        self.input_size, self.depth = input_size, (input_size // LAST_MAP_SIDE).bit_length() - 1
        self.features = DcganEncoder(depth=self.depth, frozen=False)
        self.realness = nn.Conv2d(self.features.stage_channels[self.depth], 1, LAST_MAP_SIDE, bias=False)
        self.realness.apply(initialise_dcgan)

    def forward(self, images: Images) -> Logits:
        features = self.features(shrink(images, self.input_size))[self.depth]
        return self.realness(features).flatten()


def shrink(images: Images, size: int) -> ResizedImages:
    """Resize to size x size by area weights, as two matrix products.

    A product has a deterministic gradient on every device, which torch's interpolation has not. In float32 whatever the
    images are in: D is to see photographs and reconstructions through one filter, and bfloat16 knows no whole numbers
    between 256 and 258.
    """
    rows = _area_weights(images.shape[2], size, images.device)
    columns = _area_weights(images.shape[3], size, images.device)
    with torch.autocast(images.device.type, enabled=False):
        return rows @ images.float() @ columns.T


def _area_weights(num_in: int, num_out: int, device: torch.device) -> Tensor:
    """The (num_out, num_in) matrix whose rows average the inputs that each output covers."""
    edges_in = torch.arange(num_in + 1, device=device, dtype=torch.float32)
    edges_out = torch.arange(num_out + 1, device=device, dtype=torch.float32) * (num_in / num_out)
    left = torch.maximum(edges_out[:-1, None], edges_in[None, :-1])
    right = torch.minimum(edges_out[1:, None], edges_in[None, 1:])
    overlap = (right - left).clamp_min(0)
    return overlap / overlap.sum(dim=1, keepdim=True)
