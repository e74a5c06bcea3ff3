"""Both baselines against anomalib's own models: the same weights, images, channels and bank; raw maps and scores.

python -m benchmarks.compare_anomalib CATEGORY WEIGHTS PYTHON   # PYTHON: of an environment that has anomalib

CATEGORY is a folder in MVTec's layout, WEIGHTS a ResNet-18 file. Our side runs here, anomalib's in PYTHON;
they exchange .npz files. Where a step is done in another way on purpose, one row has it as it is, and
one has anomalib's other steps on our version of it, so that what is left is rounding.
"""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

SIZE = (256, 256)
NUM_TRAIN, NUM_TEST = 40, 6
BORDER = 16  # px that the blur reaches: inside of it, what is beyond the image does not count
PACKAGES = ("torch", "torchvision", "numpy")
NOTES = {
    "patchcore": {
        "features": "stages 2 and 3, 3x3 means with zeros beyond the border, merged",
        "coreset": "share of the patches that both greedy selections choose, from the same start and projection",
        "distances": "of each patch to its nearest in the same bank",
        "scores": "re-weighted",
        "maps": "ours are enlarged by bilinear interpolation, as the paper says; anomalib's by repeating cells",
        "maps, enlarged as ours": "beyond the border we repeat the last pixel, anomalib mirrors",
        "maps, enlarged as ours, inside": "without the pixels that the border reaches",
    },
    "padim": {
        "means": "of the same features",
        "maps, same features": "anomalib adds another 0.00001 to the covariances; and the border, as above",
        "scores, same features": "the maximum of these maps",
        "maps, same features and ridge, inside": "with its 0.00001, without the pixels that the border reaches",
        "scores, same features and ridge": "the maximum of whole maps",
        "maps": "ours enlarges stages 2 and 3 by bilinear interpolation before it merges them, anomalib repeats cells",
        "scores": "the maximum of these maps",
    },
}

Arrays = dict[str, NDArray[Any]]


def main() -> None:
    """Run both sides, compare and write the file."""
    from benchmarks.result_files import write_result  # anomalib's side runs this file alone

    category, weights, python = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = our_side(category, weights, folder)
        subprocess.run([python, __file__, "--anomalib-side", name], check=True)
        theirs = dict(np.load(folder / "theirs.npz"))
        versions = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    rows = [
        {"baseline": baseline, "what": what, **compare(baseline, what, ours, theirs)}
        for baseline, notes in NOTES.items()
        for what in notes
    ]
    content = {
        "images": {"category": category.name, "train": NUM_TRAIN, "test": NUM_TEST, "size": SIZE},
        "versions": {"our side": _versions(("cavga", *PACKAGES)), "anomalib's side": versions},
        "machine": platform.machine(),
        "max_relative": "the largest difference, in units of anomalib's largest value",
        "rows": rows,
    }
    write_result("anomalib_agreement", content)
    print(json.dumps(content, indent=1))


def compare(control: str, row: str, ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """One row: the largest difference, and the correlation where the difference is on purpose."""
    a, b = (side[f"{control}: {row}"].astype(np.float64) for side in (ours, theirs))
    if row == "coreset":
        return {"share": round(len(np.intersect1d(a, b)) / len(b), 4), "count": len(b), "note": NOTES[control][row]}
    largest = float(np.abs(a - b).max())
    return {
        "max_absolute": float(f"{largest:.3g}"),
        "max_relative": float(f"{largest / np.abs(b).max():.3g}"),
        "correlation": round(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]), 6),
        "note": NOTES[control][row],
    }


@torch.no_grad()
def our_side(category: Path, weights: str, folder: Path) -> Arrays:
    """Our maps and scores; what anomalib is to use as well goes to the folder."""
    from cavga.config.backbones import IMAGENET_MEAN, IMAGENET_STD
    from cavga.config.presets import make_config
    from cavga.data.dataset import image_batch
    from cavga.model.build import build
    from cavga.model.pretrained import load_encoder_weights

    torch.manual_seed(0)
    stages = {"model": {"stages": (1, 2, 3), "train_encoder": False}, "data": {"image_size": SIZE}}
    model = build(make_config("paper", stages).model, image_size=SIZE).eval()
    load_encoder_weights(model.encoder, weights)
    train, test = photographs(category)
    batch = image_batch(test, np.arange(len(test)), torch.device("cpu"))
    patchcore, shared = our_patchcore(model, train, batch)
    padim, more = our_padim(model, train, batch)
    mean, deviation = (np.array(values, dtype=np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    state = {f"weights: {key}": tensor.numpy() for key, tensor in model.encoder.state_dict().items()}
    images = {"train": train, "test": test, "mean": mean, "deviation": deviation}
    np.savez(folder / "shared.npz", **images, **shared, **more, **state)
    return {**patchcore, **padim}


def photographs(category: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images to fit on and to score, at the input size; the tested ones are spread over the defect types."""
    from cavga.data.catalog import load_catalog
    from cavga.images.decode import read_image
    from cavga.images.resize import resized

    catalog = load_catalog(category)
    train, test = catalog.split("train")[:NUM_TRAIN], catalog.split("test")
    test = [test[i] for i in np.linspace(0, len(test) - 1, NUM_TEST).astype(int)]
    arrays = []
    for records in (train, test):
        arrays.append(np.stack([resized(read_image(record.path), SIZE) for record in records]))
    return arrays[0], arrays[1]


def our_patchcore(model: Any, train: NDArray[np.uint8], batch: torch.Tensor) -> tuple[Arrays, Arrays]:
    """What our PatchCore computes, and what the other one needs to compute the same."""
    from cavga.benchmark.baselines.patchcore import PatchcoreGraph, greedy_coreset, nearest_neighbours
    from cavga.data.dataset import image_batches

    graph = PatchcoreGraph(model, image_size=SIZE, seed=0)
    graph.fit(train, torch.device("cpu"))
    output, patches = graph.score_images(batch), graph.patches(batch)
    distances = nearest_neighbours(patches.flatten(0, 2), graph.bank)[0].view(patches.shape[:3])
    all_patches = torch.cat([graph.patches(images).flatten(0, 2) for images in image_batches(train, batch.device)])
    projected = all_patches @ torch.randn(all_patches.shape[1], 64)
    maps = {f"patchcore: {row}": output.anomaly_map.numpy() for row in NOTES["patchcore"] if row.startswith("maps")}
    maps["patchcore: maps, enlarged as ours, inside"] = _inside(output.anomaly_map).numpy()
    ours = {
        "patchcore: features": patches.permute(0, 3, 1, 2).numpy(),
        "patchcore: coreset": greedy_coreset(projected, len(graph.bank), first=first_index(len(projected))).numpy(),
        "patchcore: distances": distances.numpy(),
        "patchcore: scores": output.score.numpy(),
        **maps,
    }
    return ours, {"bank": graph.bank.numpy(), "projected": projected.numpy()}


def our_padim(model: Any, train: NDArray[np.uint8], batch: torch.Tensor) -> tuple[Arrays, Arrays]:
    """What our PaDiM computes, with our ridge and with anomalib's, and what the other one needs."""
    from cavga.benchmark.baselines import padim
    from cavga.data.dataset import image_batches

    outputs, ridge = [], padim.RIDGE
    for added in (0.0, 1e-5):
        padim.RIDGE = ridge + added
        graph = padim.PadimGraph(model, image_size=SIZE, seed=0)
        graph.fit(train, torch.device("cpu"))
        outputs.append(graph.score_images(batch))
    padim.RIDGE = ridge
    chosen = graph.chosen
    parts = (*image_batches(train, batch.device), batch)
    merged = [model.mu_head.merged(model.encode_stages(part))[:, chosen] for part in parts]
    own, same_ridge = outputs
    ours = {
        "means": graph.mean.permute(2, 0, 1).flatten(1),
        "maps, same features": own.anomaly_map,
        "scores, same features": own.score,
        "maps, same features and ridge, inside": _inside(same_ridge.anomaly_map),
        "scores, same features and ridge": same_ridge.score,
        "maps": own.anomaly_map,
        "scores": own.score,
    }
    shared = {"chosen": chosen, "train features": torch.cat(merged[:-1]), "test features": merged[-1]}
    arrays = [{key: tensor.numpy() for key, tensor in part.items()} for part in (ours, shared)]
    return {f"padim: {row}": array for row, array in arrays[0].items()}, arrays[1]


def anomalib_side(folder: Path) -> None:
    """The same with anomalib's models; runs in its environment, without cavga."""
    shared = dict(np.load(folder / "shared.npz"))
    train, test = (_normalised(shared[split], shared) for split in ("train", "test"))
    with torch.no_grad():
        results = {**anomalib_patchcore(shared, test), **anomalib_padim(shared, train, test)}
    np.savez(folder / "theirs.npz", **{row: tensor.numpy() for row, tensor in results.items()})
    versions = json.dumps(_versions(("anomalib", "timm", *PACKAGES)))
    (folder / "versions.json").write_text(versions, encoding="utf-8")


def anomalib_patchcore(shared: Arrays, test: torch.Tensor) -> dict[str, torch.Tensor]:
    """PatchcoreModel with our bank in its memory."""
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(layers=["layer2", "layer3"], backbone="resnet18", pre_trained=False, num_neighbors=9).eval()
    _load(model, shared)
    model.memory_bank = torch.from_numpy(shared["bank"])
    pooled = {name: model.feature_pooler(value) for name, value in model.feature_extractor(test).items()}
    embedding = model.generate_embedding(pooled)
    distances, _ = model.nearest_neighbors(model.reshape_embedding(embedding), n_neighbors=1)
    distances = distances.view(len(test), *embedding.shape[2:])
    enlarged = functional.interpolate(distances[:, None], size=SIZE, mode="bilinear", align_corners=False)
    blurred, output = model.anomaly_map_generator.blur(enlarged)[:, 0], model(test)
    projected = torch.from_numpy(shared["projected"])
    # A third axis switches its own projection off.
    sampler = KCenterGreedy(projected[:, :, None], sampling_ratio=(len(model.memory_bank) + 0.5) / len(projected))
    torch.manual_seed(0)  # the start is then `first_index`
    return {
        "patchcore: features": embedding,
        "patchcore: coreset": torch.as_tensor(sampler.select_coreset_idxs()),
        "patchcore: distances": distances,
        "patchcore: scores": output.pred_score,
        "patchcore: maps": output.anomaly_map[:, 0],
        "patchcore: maps, enlarged as ours": blurred,
        "patchcore: maps, enlarged as ours, inside": _inside(blurred),
    }


def anomalib_padim(shared: Arrays, train: torch.Tensor, test: torch.Tensor) -> dict[str, torch.Tensor]:
    """PadimModel with our choice of channels: on our features, then on its own."""
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel(backbone="resnet18", layers=["layer1", "layer2", "layer3"], pre_trained=False, n_features=100)
    _load(model, shared)
    model.idx = torch.from_numpy(shared["chosen"])
    mean, precision = model.gaussian.fit(torch.from_numpy(shared["train features"]))
    features = torch.from_numpy(shared["test features"])
    same = model.anomaly_map_generator(embedding=features, mean=mean, inv_covariance=precision, image_size=SIZE)[:, 0]
    own_train, own_test = (model.generate_embedding(model.feature_extractor(images)) for images in (train, test))
    own_mean, precision = model.gaussian.fit(own_train)
    own = model.anomaly_map_generator(embedding=own_test, mean=own_mean, inv_covariance=precision, image_size=SIZE)[
        :, 0
    ]
    results = {
        "means": mean,
        "maps, same features": same,
        "scores, same features": same.flatten(1).amax(dim=1),
        "maps, same features and ridge, inside": _inside(same),
        "scores, same features and ridge": same.flatten(1).amax(dim=1),
        "maps": own,
        "scores": own.flatten(1).amax(dim=1),
    }
    return {f"padim: {row}": tensor for row, tensor in results.items()}


def first_index(count: int) -> int:
    """The start that anomalib's greedy selection draws after `torch.manual_seed(0)`."""
    return int(torch.randint(count, (1,), generator=torch.Generator().manual_seed(0)))


def _load(model: Any, shared: Arrays) -> None:
    prefix = "weights: "
    names = [key.removeprefix(prefix) for key in shared if key.startswith(prefix)]
    model.feature_extractor.feature_extractor.load_state_dict(
        {name: torch.from_numpy(shared[prefix + name]) for name in names}
    )


def _normalised(images: NDArray[np.uint8], shared: Arrays) -> torch.Tensor:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.from_numpy(shared[name]).view(1, 3, 1, 1) for name in ("mean", "deviation"))
    return (batch - mean) / deviation


def _inside(maps: torch.Tensor) -> torch.Tensor:
    return maps[:, BORDER:-BORDER, BORDER:-BORDER]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {name: version(name) for name in packages}


if __name__ == "__main__":
    if sys.argv[1] == "--anomalib-side":
        anomalib_side(Path(sys.argv[2]))
    else:
        main()
