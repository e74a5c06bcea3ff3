import numpy as np
import pytest
import torch

from cavga.data.dataset import image_batch
from cavga.model.build import build
from cavga.training.fit import fit_decoder_statistics
from tests.conftest import small_config, texture

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", ["r-u", "d-u"])
def test_what_is_decoded_at_test_has_the_decoders_statistics(variant):
    config = small_config("paper", variant)
    torch.manual_seed(0)
    model = build(config.model, image_size=(32, 32))
    images = np.repeat(np.stack([texture(i, size=32) for i in range(16)])[..., None], 3, axis=3)
    batch = image_batch(images, np.arange(16), CPU)
    model.eval()
    with torch.no_grad():
        latent = model.encode(batch)
        model.decoder.train()
        for _ in range(60):  # what a training leaves: the statistics of samples
            model.decoder(latent.mu + 2 * torch.randn_like(latent.mu))
        by_mu = model.decoder(latent.mu)
        before = (model.decoder.eval()(latent.mu) - by_mu).abs().mean()
    fit_decoder_statistics(model, images, device=CPU)
    with torch.no_grad():
        after = (model.decoder(latent.mu) - by_mu).abs().mean()
    assert after < 0.05 * before
    assert not any(module.training for module in model.modules())
    momenta = {module.momentum for module in model.decoder.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}
