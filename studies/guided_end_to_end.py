"""r-s without pretrained weights, its attention through Grad-CAM: y in the place of a logit a patch.

python -m studies.guided_end_to_end OUTPUT [--seeds 0]

C of r-s without weights is trained end to end, by L_cga of every patch whose share of a synthetic anomaly is known, and
its map is the logit of a patch. Here the last layer gives y, the channels of `cavga.model.classifiers.GuidedHead`, and
the logit is that of their attention: A = exp(-||y||^2 / 2), the Grad-CAM of y's normality, with q = log((1 - A) / A).
Losses, anomalies and steps stay. Writes benchmarks/results/guided_end_to_end.jsonl.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from cavga.benchmark.experiments.accuracy import texture_experiments
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.runner import run_experiment
from cavga.benchmark.textures import TEXTURES, write_textures
from cavga.losses import SMALLEST_HALF_ENERGY
from cavga.model.classifiers import END_TO_END_HIDDEN, GUIDED_CHANNELS, EndToEndPatchClassifier
from cavga.shapes import LatentMap, ScoreMap
from studies.rows import write_rows

RESULT = "guided_end_to_end"
FULL, GUIDED = "r-s, recommended", "r-s, attention of y"
FIRST_Y = 0.126  # of each channel: A of 0.88, as C starts with that probability of normal


def main() -> None:
    """Both ways on every texture; the file is written after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    write_textures(args.output / "data")
    seeds, rows = [int(seed) for seed in args.seeds.split(",")], []
    for item in texture_experiments(seeds, None):
        if item.name != FULL or item.data not in TEXTURES:
            continue
        guided = Experiment(GUIDED, item.data, overrides=item.overrides, seed=item.seed, note="y in place of a logit")
        rows.append(run_experiment(item, args.output / "data", args.output / "textures"))
        with guided_attention():
            rows.append(run_experiment(guided, args.output / "data", args.output / RESULT))
        write_rows(RESULT, rows)


@contextmanager
def guided_attention() -> Iterator[None]:
    """Build, train and read classifiers whose logit of a patch is that of the attention of y."""
    start = EndToEndPatchClassifier.__init__

    def with_y(self: EndToEndPatchClassifier, *, latent_channels: int) -> None:
        start(self, latent_channels=latent_channels)
        self.readout = nn.Conv2d(END_TO_END_HIDDEN, GUIDED_CHANNELS, 1)
        assert self.readout.bias is not None
        nn.init.constant_(self.readout.bias, FIRST_Y)

    def cam(self: EndToEndPatchClassifier, z: LatentMap) -> ScoreMap:
        half = (self.readout(self.layers(z)).square().sum(dim=1) / 2).clamp_min(SMALLEST_HALF_ENERGY)
        return half + torch.log(-torch.expm1(-half))

    with patch.object(EndToEndPatchClassifier, "__init__", with_y), patch.object(EndToEndPatchClassifier, "cam", cam):
        yield


if __name__ == "__main__":
    main()
