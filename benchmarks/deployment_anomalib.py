"""anomalib's side of `deployment.py`; runs in anomalib's environment, without cavga. Random weights.

python benchmarks/deployment_anomalib.py export FOLDER     # its models as ONNX, by its own exporter, a folder each
python benchmarks/deployment_anomalib.py serve IMAGES      # predicts the folder once for each line, a size of batch
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

SIZE = (256, 256)
NUM_BANK = 32768  # a tenth of the 32 x 32 patches of 320 images, as for the good screws


def export(folder: Path) -> None:
    """Write FOLDER/PaDiM/model.onnx, PatchCore's and EfficientAD-S's, with their weights beside them."""
    for name, build in (("PaDiM", padim), ("PatchCore", patchcore), ("EfficientAD-S", efficient_ad)):
        if (folder / name).exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            # The exporter would fix PatchCore's batch at 2, the size of its example.
            settings = {"dynamic_shapes": None} if name == "PatchCore" else {}
            written = build().eval().to_onnx(Path(scratch), input_size=SIZE, **settings)
            shutil.copytree(Path(written).parent, folder / name, dirs_exist_ok=True)


def padim() -> Any:
    """ResNet-18, 100 features, with a Gaussian that was not fitted."""
    from anomalib.models import Padim

    torch.manual_seed(0)
    model = Padim(backbone="resnet18", layers=["layer1", "layer2", "layer3"], pre_trained=False)
    cells = (SIZE[0] // 4) * (SIZE[1] // 4)
    model.model.gaussian.mean = torch.randn(100, cells)
    model.model.gaussian.inv_covariance = torch.eye(100).repeat(cells, 1, 1)
    return model


def patchcore() -> Any:
    """ResNet-18, layers 2 and 3, with a bank of random patches."""
    from anomalib.models import Patchcore

    torch.manual_seed(0)
    model = Patchcore(backbone="resnet18", layers=["layer2", "layer3"], pre_trained=False)
    model.model.memory_bank = torch.randn(NUM_BANK, 384)
    return model


def efficient_ad() -> Any:
    """EfficientAD-S as it is built: weights are fetched only when it is trained."""
    from anomalib.models import EfficientAd

    torch.manual_seed(0)
    return EfficientAd(model_size="small")


def serve(images: Path) -> None:
    """Predict with PaDiM in anomalib's engine, its pictures switched off, each time that a line asks for it."""
    from anomalib.data import PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Padim

    model = padim()
    model.visualizer = None
    assert isinstance(model, Padim)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(accelerator="cpu", logger=False, default_root_dir=scratch)
        for line in sys.stdin:
            data = PredictDataset(images)
            loader = DataLoader(data, batch_size=int(line), collate_fn=data.collate_fn)
            count = sum(len(batch.pred_score) for batch in engine.predict(model=model, dataloaders=loader))
            print(f"predicted {count}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    {"export": export, "serve": serve}[sys.argv[1]](Path(sys.argv[2]))
