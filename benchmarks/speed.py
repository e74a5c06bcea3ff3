"""What attention and the map cost: ratios measured in one run, A and B in turn, written to results/speed.jsonl.

python -m benchmarks.speed            # about three minutes; on a quiet machine
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch

from benchmarks.result_files import write_result
from cavga.config.presets import make_config
from cavga.data.dataset import TrainingImages
from cavga.inference.graph import InferenceGraph
from cavga.model.build import build
from cavga.training.fit import fit_prior
from cavga.training.fit_latent import fit_latent
from cavga.training.loop import make_networks, training_step
from cavga.training.run_folder import versions

SIZE = (256, 256)
RESULT = "speed"
CPU = torch.device("cpu")
NORMAL = torch.zeros(8, dtype=torch.int64)  # labels of a batch


def main() -> None:
    """Measure every pair and write the file."""
    torch.manual_seed(0)
    rows = [*step_rows(), weak_row(), *predict_rows(), help_row()]
    content = {
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads(), **versions()},
        "method": "A and B in turn; ratio of each pair; median and quartiles over the pairs; 3 pairs of warm-up",
        "rows": rows,
    }
    write_result(RESULT, content)
    print(json.dumps(rows, indent=1))


def step_rows() -> list[dict[str, Any]]:
    """A training step with L_ae against one without it, for the frozen encoder at 256 px."""
    config = make_config(
        "recommended",
        {
            "data": {"image_size": SIZE},
            "model": {"variant": "r-u", "weights": "none", "train_encoder": False, **imagenet_like()},
        },
    )
    model = fitted(config)
    networks = make_networks(model, config, CPU)
    model.train()
    images = torch.rand(8, 3, *SIZE)
    noise = torch.Generator().manual_seed(0)
    attention = model.attention
    constant = torch.full((8, SIZE[0] // 8, SIZE[1] // 8), 0.5)

    def step(with_attention: bool) -> None:
        # Without: the loss is a constant and nothing of the map is computed.
        model.attention = attention if with_attention else lambda _mu: constant  # type: ignore[method-assign]
        training_step(networks, images, NORMAL, config.loss, noise)

    return [
        measure("training step: with L_ae / without", lambda: step(True), lambda: step(False), pairs=15, bound=1.05)
    ]


def weak_row() -> dict[str, Any]:
    """A step of r-w (Eq. 6) against one of r-u (Eq. 4), preset `paper`, R to layer3 at 128 px."""
    settings = {"weights": "none", "stages": (3,), "latent_channels": 256}
    images, noise = torch.rand(8, 3, 128, 128), torch.Generator().manual_seed(0)

    def step_of(variant: str) -> Callable[[], object]:
        config = make_config("paper", {"model": {**settings, "variant": variant}, "data": {"image_size": 128}})
        networks = make_networks(build(config.model, image_size=config.data.input_size), config, CPU)
        networks.model.train()
        labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1]) if variant == "r-w" else NORMAL
        return lambda: training_step(networks, images, labels, config.loss, noise)

    return measure("training step, paper: r-w / r-u", step_of("r-w"), step_of("r-u"), pairs=15, bound=1.10)


def predict_rows() -> list[dict[str, Any]]:
    """Score, map and mask against the encoder alone."""
    config = make_config(
        "recommended", {"model": {"variant": "r-u", "weights": "none", "train_encoder": False, **imagenet_like()}}
    )
    graph = InferenceGraph(fitted(config), image_size=SIZE, image_score="map").eval()
    rows = []
    for batch, pairs in ((1, 40), (16, 15)):
        images = torch.rand(batch, 3, *SIZE)
        with torch.inference_mode():
            rows.append(
                measure(
                    f"prediction, batch {batch}: score, map and mask / encoder alone",
                    lambda images=images: graph.score_images(images),
                    lambda images=images: graph.model.encoder(images),
                    pairs=pairs,
                    bound=1.10,
                )
            )
    return rows


def help_row() -> dict[str, Any]:
    """Seconds that `cavga --help` takes above a bare interpreter."""
    shown = [sys.executable, "-m", "cavga", "--help"]
    bare = [sys.executable, "-c", "pass"]
    differences = []
    for _ in range(15):
        differences.append(timed(lambda: run(shown)) - timed(lambda: run(bare)))
    return {"what": "seconds of `cavga --help` above a bare interpreter", **spread(differences), "bound": 0.3}


def imagenet_like() -> dict[str, Any]:
    """The stages and features that `recommended` has with weights; what the weights are costs nothing."""
    return {"stages": (1, 2, 3), "features": "linear"}


def fitted(config: Any) -> Any:
    """A model with its latent set on random images."""
    model = build(config.model, image_size=SIZE)
    images = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    fit_latent(model, images, config.model, device=CPU)
    folds = [[2 * i, 2 * i + 1] for i in range(4)]
    fit_prior(model, TrainingImages(images, num_normal=len(images)), config, folds, device=CPU)
    return model


def measure(what: str, a: Callable[[], object], b: Callable[[], object], *, pairs: int, bound: float) -> dict[str, Any]:
    """The ratio of A's time to B's, pair by pair."""
    for _ in range(3):
        a(), b()
    times = [(timed(a), timed(b)) for _ in range(pairs)]
    ratios = [one / other for one, other in times]
    return {
        "what": what,
        **spread(ratios),
        "bound": bound,
        "pairs": pairs,
        "median_ms": [round(1000 * median(column), 2) for column in zip(*times, strict=True)],
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = quantiles(values, n=4)
    return {"median": round(middle, 4), "lower_quartile": round(low, 4), "upper_quartile": round(high, 4)}


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run(command: list[str]) -> None:
    """Run a command, its output thrown away."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
