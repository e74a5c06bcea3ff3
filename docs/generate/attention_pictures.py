"""Write docs/images/attention-PAPER.png: of each bundled paper, what attention says of the defect of median score.

python -m docs.generate.attention_pictures runs/demo OUTPUT

Trains r-s on the demo's data of each paper into OUTPUT, where it is not there yet.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import cavga
from cavga.config.presets import make_config
from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS
from cavga.demo.papers import PAPERS
from cavga.images.decode import read_image
from cavga.images.masks import read_mask
from cavga.images.torch_resize import as_images
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph, enlarged
from cavga.inference.torch_engine import TorchEngine
from cavga.model.classifiers import GuidedHead
from cavga.rendering.heatmaps import heatmap, outline
from cavga.rendering.scale import MapScale, picture_scale

SIDE, GAP, HEAD = 176, 6, 16  # px
TITLES = ("true defect", "1 - A of the energy", "1 - A, trained", "map of the energy", "map of r-s")
SETTINGS = {"model": {"variant": "r-s", "encoder": "efficientnet_lite0"}, "training": {"device": "cpu"}}
UNIT = MapScale(0.5, 0.5)  # of 1 - A: 0 to 1


def main(demo: Path, output: Path) -> None:
    """One picture a paper."""
    folder = Path(__file__).parents[1] / "images"
    for paper in PAPERS:
        data, run = demo / "data" / paper, output / paper
        if not (run / "model.json").is_file():
            cavga.train(data, run, make_config("recommended", SETTINGS))
        Image.fromarray(picture_of(run, data)).save(folder / f"attention-{paper}.png", optimize=True)


def picture_of(run: Path, data: Path) -> NDArray[np.uint8]:
    """Five panels side by side, of the defective photograph of median score."""
    detector = AnomalyDetector.load_in_torch(run, device="cpu")
    records = [r for r in load_catalog(data).split("test") if r.label == ANOMALOUS]
    scores = [prediction.score for prediction in detector.predict([record.path for record in records])]
    record = records[int(np.argsort(scores)[len(scores) // 2])]
    photograph = read_image(record.path)
    size = (SIDE, round(photograph.shape[1] * SIDE / photograph.shape[0]))
    small = np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.LANCZOS))
    pictures = [outline(small, read_mask(record.mask_paths)), *maps_of(detector, photograph, size)]
    return np.hstack([_titled(picture, title) for picture, title in zip(pictures, TITLES, strict=True)])[:, :-GAP]


@torch.no_grad()
def maps_of(detector: AnomalyDetector, photograph: NDArray[np.uint8], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """1 - A of the energy and of y, the energy, and the map, in colours."""
    engine = detector.engine
    assert isinstance(engine, TorchEngine)
    graph, scale = engine.graph, picture_scale(detector)
    assert isinstance(graph, InferenceGraph)
    model = graph.model
    assert model.prior is not None
    assert isinstance(model.classifier, GuidedHead)
    resized = engine.resize(photograph)
    mu = model.encode(as_images(torch.from_numpy(np.asarray(resized))[None])).mu
    energy = model.energy(mu)
    found = [1 - model.prior.attention(mu), 1 - model.classifier.attention(mu), energy.patches]
    found.append(model.classifier.anomaly_map(energy.patches, mu))
    scales = (UNIT, UNIT, scale, scale)
    return [heatmap(enlarged(some, size)[0].numpy(), each) for some, each in zip(found, scales, strict=True)]


def _titled(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    canvas = Image.new("RGB", (picture.shape[1] + GAP, picture.shape[0] + HEAD), "white")
    ImageDraw.Draw(canvas).text((0, 2), title, fill=(20, 23, 27))
    canvas.paste(Image.fromarray(picture), (0, HEAD))
    return np.asarray(canvas)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
