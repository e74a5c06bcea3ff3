"""CAVGA as the paper draws it: encoder, convolutional latent q(z|x), decoder."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cavga.attention import energy_attention, latent_sum_cam, normality_cam, sigmoid_attention
from cavga.model.decoder import DcganDecoder, ResidualDecoder
from cavga.model.encoder import Encoder
from cavga.model.latent import LatentHead
from cavga.shapes import AttentionMap, Images, LatentMap, PositionMap, ScoreMap


@dataclass(frozen=True)
class CavgaOutput:
    """One forward pass of a batch."""

    mu: LatentMap
    logvar: LatentMap
    reconstruction_logits: Images


class Cavga(nn.Module):
    """q(z|x) = N(mu, exp(logvar)) on a map, and the decoder of z.

    `logvar_head` None means a fixed log variance: nothing can then trade the latent's signal for a
    smaller KL. `attends_to` names the score that attention explains: "latent_sum" is the sum of mu,
    "energy" the normality score -KL(q(z|x) || prior). `prior_variance` scales the prior N(0, s_ij I)
    by position; 1 is the paper's N(0, I).
    """

    prior_variance: Tensor
    fixed_logvar: Tensor

    def __init__(
        self,
        *,
        encoder: Encoder,
        stages: tuple[int, ...],
        mu_head: LatentHead,
        logvar_head: LatentHead | None,
        decoder: ResidualDecoder | DcganDecoder,
        attends_to: Literal["energy", "latent_sum"],
        map_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.attends_to = attends_to
        self.encoder, self.stages = encoder, stages
        self.mu_head, self.logvar_head, self.decoder = mu_head, logvar_head, decoder
        self.register_buffer("prior_variance", torch.ones(map_size))
        # Whitened mu has a deviation of 1 a channel; noise of a tenth of it blurs no map and is
        # enough for the decoder to be trained on samples.
        self.register_buffer("fixed_logvar", torch.tensor(-4.6), persistent=False)

    def train(self, mode: bool = True) -> "Cavga":
        """Like nn.Module.train, but batch norm that was imported or is frozen stays in eval mode.

        Statistics of small batches would replace those its weights were trained with. Nothing else in
        the encoders depends on the mode.
        """
        super().train(mode)
        if self.encoder.has_fixed_norm:
            self.encoder.eval()
        return self

    def encode_stages(self, images: Images) -> list[Tensor]:
        """The feature maps that feed the latent."""
        maps = self.encoder(images)
        return [maps[stage] for stage in self.stages]

    def encode(self, images: Images) -> tuple[LatentMap, LatentMap]:
        """The mean mu and the log variance of q(z|x)."""
        stages = self.encode_stages(images)
        mu = self.mu_head(stages)
        logvar = self.fixed_logvar.expand_as(mu) if self.logvar_head is None else self.logvar_head(stages)
        return mu, logvar

    def forward(self, images: Images, generator: torch.Generator | None = None) -> CavgaOutput:
        """Encode, sample z = mu + exp(logvar / 2) noise with noise from `generator`, decode."""
        mu, logvar = self.encode(images)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        z = mu + (0.5 * logvar).exp() * noise
        return CavgaOutput(mu, logvar, self.decoder(z))

    def attention(self, mu: LatentMap) -> AttentionMap:
        """A in [0, 1]: Grad-CAM of the score that the model attends to, in closed form."""
        if self.attends_to == "latent_sum":
            return sigmoid_attention(latent_sum_cam(mu, self.mu_head.bias))
        return energy_attention(normality_cam(mu, self.prior_variance), mu.shape[1])

    def anomaly_map(self, mu: LatentMap) -> ScoreMap:
        """What attention does not cover: 1 - A for "latent_sum", and -2 log A, unbounded, for "energy"."""
        if self.attends_to == "latent_sum":
            return 1 - self.attention(mu)
        return -normality_cam(mu, self.prior_variance) / mu.shape[1]

    def set_prior_variance(self, variance: PositionMap) -> None:
        self.prior_variance.copy_(variance)
