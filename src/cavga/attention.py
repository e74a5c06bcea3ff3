"""Attention maps: Grad-CAM as a gradient (the reference), and the closed forms that training and prediction use.

With a 1x1 head on the features, Grad-CAM needs no backward pass. For features F and the score
sum(mu) with mu = W F + b, the gradient is the column sums of W at every position, so the map is
sum_d (mu_d - b_d). For the score -||mu||^2 / 2 with element-wise weights at mu it is -||mu||^2. For
the logit of a class, linear on flattened z, it is z under the spatial mean of the class's weights.
Tests compare every closed form with `grad_cam` in value and in gradient.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.shapes import (
    AttentionMap,
    ClassLogits,
    ClassMaps,
    FeatureMap,
    Images,
    LatentMap,
    PositionMap,
    Scalar,
    ScoreMap,
)


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


def class_cams(
    z: LatentMap,
    class_weights: Float[Tensor, "2 latent rows columns"],
    *,
    weighting: Literal["mean", "elementwise"] = "mean",
) -> ClassMaps:
    """Closed form of `grad_cam(logit_c, z)` for both classes of a classifier that is linear on flattened z."""
    if weighting == "elementwise":
        return torch.einsum("ckij,bkij->bcij", class_weights, z)
    return torch.einsum("ck,bkij->bcij", class_weights.mean(dim=(2, 3)), z)


def flattened_cams(
    features: FeatureMap,
    weight: Float[Tensor, "units features rows columns"],
    directions: Float[Tensor, "scores units"],
) -> Float[Tensor, "batch scores rows columns"]:
    """Closed form of `grad_cam(direction @ z, F)` for a flattened z = weight @ F + b, one map a direction.

    For the score sum(z) the direction is all ones: the channel weights are the spatial mean of the
    column sums of the weight. For the logit of a class it is the class's weight row.
    """
    return torch.einsum("sf,bfij->bsij", directions @ weight.mean(dim=(2, 3)), features)


def probability_cams(cams: ClassMaps, class_logits: ClassLogits) -> ClassMaps:
    """The maps of the classes' probabilities (softmax) from those of their logits.

    dp_c = p_c (1 - p_c) (ds_c - ds_other): of two classes the maps are opposite, whatever the image.
    """
    probabilities = class_logits.softmax(dim=1)
    difference = (cams[:, 1] - cams[:, 0]) * probabilities.prod(dim=1)[:, None, None]
    return torch.stack([-difference, difference], dim=1)


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
