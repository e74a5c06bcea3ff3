import pytest
import torch
from torch.nn import functional

from cavga.config.presets import make_config
from cavga.model.build import build
from cavga.model.decoder import DcganDecoder, ResidualBlock, ResidualDecoder
from cavga.model.discriminator import Discriminator, shrink
from cavga.training.loop import make_networks


@pytest.mark.parametrize("decoder_type", [ResidualDecoder, DcganDecoder])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_decoders_give_the_images_size(decoder_type, stride):
    decoder = decoder_type(latent_channels=5, stride=stride, width=4)
    assert decoder(torch.randn(2, 5, 2, 3)).shape == (2, 3, 2 * stride, 3 * stride)


def test_the_papers_residual_decoder_has_the_ports_widths():
    # 8x8x512 -> 512, 256, 128, 64 -> RGB (notes of the only public port).
    decoder = ResidualDecoder(latent_channels=512, stride=32, width=64)
    blocks = [layer for layer in decoder.layers if isinstance(layer, ResidualBlock)]
    assert [block.upsample[0].out_channels for block in blocks] == [512, 256, 128, 64]


def test_the_skip_runs_from_the_upsampling_to_after_the_convolution():
    block = ResidualBlock(3, 4, skip=True).eval()
    torch.nn.init.zeros_(block.convolve[0].weight)
    features = torch.randn(1, 3, 4, 4)
    assert torch.equal(block(features), block.upsample(features))


@pytest.mark.parametrize("size", [(32, 32), (128, 64), (96, 224)])
def test_the_discriminator_takes_any_size(size):
    assert Discriminator()(torch.rand(3, 3, *size)).shape == (3,)


def test_the_discriminator_of_small_images_has_a_convolution_less():
    small = Discriminator(input_size=32)
    assert (small.depth, Discriminator().depth) == (3, 4)
    assert small(torch.rand(3, 3, 32, 32)).shape == (3,)


@pytest.mark.parametrize(("size", "depth"), [((32, 96), 3), ((64, 64), 4), ((256, 256), 4)])
def test_the_discriminator_of_a_run_does_not_enlarge_its_images(size, depth):
    config = make_config("paper", {"data": {"image_size": size}, "model": {"variant": "d-u", "weights": "none"}})
    model = build(config.model, image_size=size)
    assert make_networks(model, config, torch.device("cpu")).discriminator.depth == depth


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shrinking_by_a_whole_factor_averages_blocks(factor):
    images = torch.rand(2, 3, 8 * factor, 8 * factor)
    assert torch.allclose(shrink(images, 8), functional.avg_pool2d(images, factor), atol=1e-6)


@pytest.mark.parametrize("size", [(5, 9), (13, 8)])
def test_shrinking_keeps_a_constant_image(size):
    assert torch.allclose(shrink(torch.full((1, 3, *size), 0.3), 8), torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize("width", [512, 1024])
def test_photographs_and_reconstructions_are_shrunk_alike_where_half_precision_is_allowed(width):
    images = torch.rand(1, 3, 32, width).bfloat16()  # as a decoder gives them under autocast
    expected = shrink(images.float(), 32)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction, photograph = shrink(images, 32), shrink(images.float(), 32)
    assert torch.equal(reconstruction, expected)
    assert torch.equal(photograph, expected)
    column = torch.arange(width).bfloat16().expand(1, 3, 32, width).clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        shrink(column, 32).sum().backward()
    assert (column.grad != 0).all()  # no column without weight
