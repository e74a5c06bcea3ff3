"""Attention maps: Grad-CAM as a gradient (the reference), and the closed forms that training and prediction use.

With a 1x1 head on the features, Grad-CAM needs no backward pass. For features F and the score
sum(mu) with mu = W F + b, the gradient is the column sums of W at every position, so the map is
sum_d (mu_d - b_d). For the score -||mu||^2 / 2 with element-wise weights at mu it is -||mu||^2.
Tests compare both with `grad_cam` in value and in gradient.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.shapes import AttentionMap, FeatureMap, Images, LatentMap, PositionMap, Scalar, ScoreMap


def grad_cam(score: Scalar, features: FeatureMap, *, weighting: Literal["mean", "elementwise"] = "mean") -> ScoreMap:
    """The class activation map of `score` at `features`, by autograd; differentiable once more.

    "mean" averages the gradient over the positions (Grad-CAM, Selvaraju et al. 2017); "elementwise"
    does not (HiResCAM, Draelos and Carin 2020). There is no ReLU: it would zero a wholly negative map
    together with its gradient, and L_ae could never start.
    """
    (gradient,) = torch.autograd.grad(score, features, create_graph=True)
    weights = gradient.mean(dim=(2, 3), keepdim=True) if weighting == "mean" else gradient
    return (weights * features).sum(dim=1)


def latent_sum_cam(mu: LatentMap, bias: Float[Tensor, " latent"]) -> ScoreMap:
    """Closed form of `grad_cam(mu.sum(), F)` for mu = W F + bias with a 1x1 W."""
    return mu.sum(dim=1) - bias.sum()


def normality_cam(mu: LatentMap, prior_variance: PositionMap) -> ScoreMap:
    """Closed form of the element-wise Grad-CAM at mu of the normality score, -KL(q(z|x) || prior).

    Only mu varies (logvar is fixed), so with the prior N(0, s_ij I) the score is
    -||mu_ij||^2 / (2 s_ij) + const, and gradient times mu, summed over the channels, is -||mu_ij||^2 / s_ij.
    """
    return -mu.square().sum(dim=1) / prior_variance


def sigmoid_attention(cam: ScoreMap) -> AttentionMap:
    """A in [0, 1] by a sigmoid, which is how readers of the paper report it."""
    return cam.sigmoid()


def energy_attention(cam: ScoreMap, num_channels: int) -> AttentionMap:
    """A = exp(cam / 2K): about 0.61 where a whitened latent of K channels is as on normal images."""
    return (cam / (2 * num_channels)).exp()


def attention_of(
    module: nn.Module, layer: nn.Module, images: Images, score: Callable[[Tensor], Scalar]
) -> AttentionMap:
    """The attention of any network at any of its layers, ready for `attention_expansion_loss`.

    `layer` is a submodule of `module` with an output of shape (batch, features, rows, columns);
    `score` turns what `module(images)` returns into the scalar to be explained. If that output is
    not a tensor, `score` receives it as it is.
    """
    captured: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: captured.append(output))
    try:
        value = score(module(images))
    finally:
        hook.remove()
    if len(captured) != 1:
        raise ValueError(f"the layer must run exactly once in a forward pass; it ran {len(captured)} times")
    return sigmoid_attention(grad_cam(value, captured[0]))
