"""Tensors by name and shape. Checked by beartype under pytest, free at run time.

Axis names are shared within one signature: two arguments marked "batch" must agree.
"""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]  # RGB in [0, 1]
Photographs = UInt8[Tensor, "batch height width 3"]  # RGB in 0..255, as decoded
FeatureMap = Float[Tensor, "batch features rows columns"]
LatentMap = Float[Tensor, "batch latent rows columns"]
AttentionMap = Float[Tensor, "batch rows columns"]  # in [0, 1]
ScoreMap = Float[Tensor, "batch rows columns"]  # raw, unbounded
ResizedImages = Float[Tensor, "batch 3 new_height new_width"]
ResizedMap = Float[Tensor, "batch features new_rows new_columns"]
PositionMap = Float[Tensor, "rows columns"]
Logits = Float[Tensor, " batch"]
Scores = Float[Tensor, " batch"]
Masks = Bool[Tensor, "batch rows columns"]
Scalar = Float[Tensor, ""]
