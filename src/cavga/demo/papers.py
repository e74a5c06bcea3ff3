"""The bundled photographs: three papers of PIPED with real impurities and masks drawn by hand. No torch.

Bianconi, Ceccarelli, Fernandez, Saetta, Computers in Industry 65 (2014), CC BY 4.0 (NOTICE). They were chosen by
their looks, before anything was measured on them: three colours; faint, thread-like and large impurities.
"""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

PAPERS = ("BTN01", "FVN02", "GLA01")
PAPER_SIDE = 128  # px, of every photograph
SOURCE = "PIPED, Bianconi et al. 2014, CC BY 4.0"


def write_papers(root: Path) -> dict[str, Path]:
    """Write every paper below `root` in MVTec layout; returns paper -> folder."""
    folders = {}
    with as_file(files("cavga.demo") / "papers") as bundled:
        for paper in PAPERS:
            folders[paper] = root / paper
            shutil.copytree(bundled / paper, folders[paper])
    return folders
