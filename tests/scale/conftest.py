from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.scale.parts import committed_files, read_parquet
from cavga.scale.storage import Folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of small photographs, 60 together."""
    folder = tmp_path_factory.mktemp("photographs") / "line"
    rng = np.random.default_rng(0)
    for i in range(60):
        path = folder / ("left", "right")[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(90, 160, (32, 32), dtype=np.uint8)).save(path)
    return folder


def rows_of(output: object, kind: str = "scored") -> list[dict]:
    """Every row that counts."""
    folder = Folder(str(output))
    return [row for name in committed_files(str(output))[kind] for row in read_parquet(folder, name).to_pylist()]


def keys_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
