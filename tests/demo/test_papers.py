from pathlib import Path

import numpy as np

from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog, count_images
from cavga.demo.papers import PAPER_SIDE, PAPERS, write_papers
from cavga.images.decode import read_image_size

ROOT = Path(__file__).parents[2]


def test_written_papers_are_mvtec_sets_with_nothing_wrong(tmp_path):
    for paper, folder in write_papers(tmp_path).items():
        assert folder == tmp_path / paper
        catalog = load_catalog(folder)
        assert [finding for finding in check_catalog(catalog) if finding.severity != "note"] == []
        counts = count_images(catalog)
        assert counts["train_normal"] >= 30
        assert counts["test_normal"] >= 15
        assert counts["test_anomalous"] == counts["with_mask"] == 48
        sizes = [read_image_size(record.path) for record in catalog.records]
        assert np.median(sizes, axis=0).tolist() == [PAPER_SIDE, PAPER_SIDE]


def test_the_photographs_are_small_and_attributed():
    bundled = [path for path in (ROOT / "src/cavga/demo/papers").rglob("*") if path.is_file()]
    assert {path.relative_to(ROOT / "src/cavga/demo/papers").parts[0] for path in bundled} == set(PAPERS)
    assert sum(path.stat().st_size for path in bundled) < 5e6
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "Bianconi" in notice
    assert "creativecommons.org/licenses/by/4.0" in notice
