"""Tensors by name and shape. Checked by beartype under pytest, free at run time.

Axis names are shared within one signature: two arguments marked "batch" must agree.
"""

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]  # RGB in [0, 1]
Photographs = UInt8[Tensor, "batch height width 3"]  # RGB in 0..255, as decoded
ResizedImages = Float[Tensor, "batch 3 new_height new_width"]
ResizedPhotographs = UInt8[Tensor, "batch new_height new_width 3"]
FeatureMap = Float[Tensor, "batch features rows columns"]
FlattenedFeatures = Float[Tensor, "batch features source_rows source_columns"]  # of which z is a vector
LatentMap = Float[Tensor, "batch latent rows columns"]
AttentionMap = Float[Tensor, "batch rows columns"]  # in [0, 1]
ScoreMap = Float[Tensor, "batch rows columns"]  # raw, unbounded
ResizedMap = Float[Tensor, "batch features new_rows new_columns"]
PositionMap = Float[Tensor, "rows columns"]
Logits = Float[Tensor, " batch"]
ClassLogits = Float[Tensor, "batch 2"]  # normal, anomalous
ClassMaps = Float[Tensor, "batch 2 rows columns"]  # one map a class: normal, anomalous
ClassAttention = Float[Tensor, "batch 2 map_rows map_columns"]  # A^cn and A^ca in [0, 1], of a map or a vector z
Labels = Int64[Tensor, " batch"]  # 0 normal, 1 anomalous
Scores = Float[Tensor, " batch"]
Masks = Bool[Tensor, "batch rows columns"]
Scalar = Float[Tensor, ""]
PatchScores = Float[Tensor, "images patches"]  # of some patches of each image
PatchFlags = Bool[Tensor, "images patches"]
