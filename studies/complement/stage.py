"""The encoder's last stage trained with the attention, at a small rate, to see whether z becomes better by it.

python -m studies.complement.stage ROOT RESNET18_WEIGHTS CACHE [--datasets A;B]

Layer3 of ResNet-18 (its batch norm stays as it is) and the guided head are trained together, by the losses of `r-s` on
the same synthetic anomalies, with the gradient through A. Then everything is fitted anew on what the encoder now gives:
mu, prior, and the head of `r-s`. Rows are as those of `python -m studies.complement`, seed 0, and join
benchmarks/results/complement.jsonl; what it holds is not computed again.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.result_files import read_result, write_result
from cavga.images.torch_resize import as_images
from cavga.model.cavga import Cavga
from cavga.model.classifiers import GuidedHead
from cavga.training.fit_classifier import or_left_out
from cavga.training.fit_guided_head import (
    LEARNING_RATE,
    NUM_NORMAL,
    NUM_SYNTHETIC,
    WARM_UP,
    WEIGHT_DECAY,
    choose_left_out,
    drawn_patches,
    guided_loss,
    synthetic_images,
)
from cavga.training.fit_latent import fit_latent
from studies.complement.__main__ import CHOSEN, RESULT
from studies.complement.figures import figures
from studies.complement.heads import said_by_guided_head
from studies.complement.latents import CPU, encoded, latents_by
from studies.complement.pixels import Pixels, load_pixels
from studies.fitted import fitted_model

SETS = ("magnetic_tile", "brick", "piped_paper/BTN01")
STAGE, STAGE_RATE, NUM_STEPS = "layer3", 1e-5, 150  # a two-hundredth of the head's rate
TRAINED, GUIDED = "stage trained: energy alone", "stage trained: y"


def main() -> None:
    """Every set; the file is written after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--datasets", default=";".join(SETS))
    args = parser.parse_args()
    for name in args.datasets.split(";"):
        rows = list(read_result(RESULT)["rows"])
        if any(row["data"] == name and row["way"] == GUIDED for row in rows):
            continue
        pixels, start = load_pixels(args.root, name, args.weights, args.cache), time.monotonic()
        model = fitted_model(pixels.config, pixels.train)
        train_stage(model, pixels, seed=0)
        fit_latent(model, pixels.train, pixels.config.model, device=CPU)
        latents = latents_by(model, pixels, seed=0)
        for way in (TRAINED, GUIDED):
            said = said_by_guided_head(CHOSEN, latents, 0) if way == GUIDED else None
            header = {"data": name, "way": way, "seed": 0, "seconds": round(time.monotonic() - start)}
            rows += [header | row for row in figures(latents, 0, said=said)]
            print(header, flush=True)
        write_result(RESULT, {**read_result(RESULT), "rows": rows})


def train_stage(model: Cavga, pixels: Pixels, seed: int) -> None:
    """The last stage and a guided head, together; the head is thrown away."""
    seen = pixels.train[~choose_left_out(len(pixels.train), seed)]
    images, shares = zip(*synthetic_images(seen, seed), strict=True)
    synthetic, labels = np.stack(images), torch.from_numpy(np.stack(shares))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z = encoded(model, seen[:64])
        head = GuidedHead(latent_channels=z.shape[1])
        head.unit.copy_(or_left_out(z.float().std(dim=(0, 2, 3))))
        stage = [p for n, p in model.encoder.named_parameters() if n.startswith(STAGE)]
        for parameter in stage:
            parameter.requires_grad_(True)
        groups = [{"params": stage, "lr": STAGE_RATE}, {"params": head.parameters(), "lr": LEARNING_RATE}]
        optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        rates = [STAGE_RATE, LEARNING_RATE]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, NUM_STEPS, pct_start=WARM_UP)
        head.train()
        for _ in range(NUM_STEPS):
            some = torch.randint(len(synthetic), (NUM_SYNTHETIC,)).numpy()
            others = torch.randint(len(seen), (NUM_NORMAL,)).numpy()
            loss = _loss(model, head, np.concatenate([synthetic[some], seen[others]]), labels[some])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        for parameter in stage:
            parameter.requires_grad_(False)


def _loss(model: Cavga, head: GuidedHead, images: NDArray[np.uint8], labels: Tensor) -> Tensor:
    """That of `cavga.training.fit_guided_head`, with z computed anew."""
    z = model.mu_head(model.encode_stages(as_images(torch.from_numpy(images))))
    shares = functional.adaptive_avg_pool2d(labels[:, None], z.shape[2:])[:, 0]
    shares = torch.cat([shares, torch.zeros(len(z) - len(shares), *z.shape[2:])])
    patches, drawn = drawn_patches(head.context(z), shares)
    energy = head.layers(patches[:, :, None, None])[:, :, 0, 0].square().sum(dim=1).view(len(z), -1)
    return guided_loss(energy, drawn)


if __name__ == "__main__":
    main()
