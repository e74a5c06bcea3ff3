"""What a few photographs labelled bad add through trained attention: the w of the paper, in the loss of r-s.

python -m studies.complement.labelled ROOT RESNET18_WEIGHTS CACHE [--datasets A;B] [--draws 2] [--counts 0,1,2,5,10]

Labelled photographs are drawn from the test's bad ones, as many of each count as of the largest are left out of the
test of all counts, so that all are tested on the same. Only their label is known. Writes
benchmarks/results/few_labelled.jsonl; what it holds is not computed again.
"""

import argparse
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.result_files import FOLDER, read_result, write_result
from cavga.calibration.rules import conformal_threshold
from cavga.metrics.image import auroc
from cavga.model.classifiers import GuidedHead
from cavga.model.prior import largest_mean
from cavga.training.fit_classifier import or_left_out
from cavga.training.fit_guided_head import Examples, choose_left_out, train_guided_head
from studies.complement.figures import Row, of_maps, with_head
from studies.complement.latents import Latents, latents_of
from studies.complement.pixels import load_pixels
from studies.fold_thresholds import scaled
from studies.rows import rounded

RESULT = "few_labelled"
SETS = ("piped_paper/BTN01", "magnetic_tile", "mvtec_ad/screw")
COUNTS = (0, 1, 2, 5, 10)
RATE, WEIGHT = 0.05, 0.5


def main() -> None:
    """Every set, draw and count; the file is written after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--datasets", default=";".join(SETS))
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    args = parser.parse_args()
    rows = list(read_result(RESULT)["rows"]) if (FOLDER / f"{RESULT}.jsonl").is_file() else []
    known = {(row["data"], row["draw"], row["count"]) for row in rows}
    for name in args.datasets.split(";"):
        latents = latents_of(load_pixels(args.root, name, args.weights, args.cache), 0, args.cache)
        for draw in range(args.draws):
            for count in map(int, args.counts.split(",")):
                if (name, draw, count) in known:
                    continue
                rows.append({"data": name, "draw": draw, "count": count, **_of(latents, draw, count)})
                write_result(RESULT, {"table": RESULT, "machine": platform.machine(), "rows": rows})
                print(rows[-1], flush=True)


def _of(latents: Latents, draw: int, count: int) -> Row:
    """Figures of the test photographs that no count of this draw has labelled."""
    bad = latents.is_bad.nonzero()[:, 0].numpy()
    drawn = np.random.default_rng(draw).permutation(bad)[: max(COUNTS)]
    rest = torch.from_numpy(np.setdiff1d(np.arange(len(latents.is_bad)), drawn))
    head = _trained(latents, latents.test[torch.from_numpy(drawn[:count])], draw)
    tested = replace(latents, test=latents.test[rest], is_bad=latents.is_bad[rest])
    y_held, y = (_distance(head, z) for z in (latents.held, tested.test))
    y, y_held = ((some - y_held.mean()) / y_held.std() for some in (y, y_held))
    is_held = torch.from_numpy(choose_left_out(len(latents.seen) + len(latents.held), 0).nonzero()[0])
    prior, of_held = scaled(latents.train_energies), latents.train_energies.of(is_held)
    energies, is_bad = latents.test_energies.of(rest), tested.is_bad.numpy().astype(int)
    maps, score = prior.joined(energies)
    held_score = prior.joined(of_held)[1]
    scores = {"energy": (score, held_score)}
    held_with = with_head(prior, of_held, of_held, y_held, y_held, WEIGHT)
    scores |= {k: (v, held_with[k]) for k, v in with_head(prior, energies, of_held, y, y_held, WEIGHT).items()}
    scores["y alone"] = (largest_mean(y), largest_mean(y_held))
    row: Row = {}
    for name, (values, held) in scores.items():
        threshold, _ = conformal_threshold(held.numpy(), RATE, np.arange(len(held)))
        row[f"image_auroc, {name}"] = rounded(auroc(values.numpy(), is_bad))
        row[f"recall, {name}"] = rounded(float((values.numpy()[is_bad == 1] >= threshold).mean()))
        row[f"realised, {name}"] = rounded(float((values.numpy()[is_bad == 0] >= threshold).mean()))
    return row | of_maps(
        maps + WEIGHT * y, latents.masks[rest].numpy() if len(latents.masks) else latents.masks.numpy()
    )


def _trained(latents: Latents, labelled: torch.Tensor, seed: int) -> GuidedHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = GuidedHead(latent_channels=latents.seen.shape[1])
        head.unit.copy_(or_left_out(latents.seen.float().std(dim=(0, 2, 3))))
        train_guided_head(head, Examples(latents.seen, latents.synthetic, latents.labels, labelled))
    return head.eval()


@torch.no_grad()
def _distance(head: GuidedHead, z: torch.Tensor) -> torch.Tensor:
    return torch.cat([head.distance(some.float()) for some in z.split(32)])


if __name__ == "__main__":
    main()
