"""studies/ablation.py: what is left out is left out, and nothing else."""

from dataclasses import replace

import numpy as np

from cavga.synthetic.crops import make_images
from cavga.synthetic.strong import BOLD_MAKERS
from cavga.synthetic.subtle import TRAINING_MAKERS


def test_images_are_made_without_the_kind_that_is_left_out(monkeypatch):
    from cavga.synthetic import strong as bold_kinds
    from studies.ablation import left_out

    called = []

    def counting(kind, maker):
        return lambda scene, rng: called.append(kind) or maker(scene, rng)

    counted = {kind: (counting(kind, maker), share) for kind, (maker, share) in BOLD_MAKERS.items()}
    monkeypatch.setattr(bold_kinds, "BOLD_MAKERS", counted)
    normal = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with left_out("stroked"):
        make_images(normal, seed=0)
    assert set(called) == set(BOLD_MAKERS) - {"stroked"}
    make_images(normal, seed=0)
    assert set(called) == set(BOLD_MAKERS)


def test_every_row_changes_one_thing_of_a_row_with_nothing_left_out():
    from studies.ablation import rows_of

    rows = list(rows_of(1, "weights.safetensors"))
    full = {row.cell.data: row.cell for row in rows if row.table != "ablation"}
    assert len(full) == 5
    for row in rows:
        first = full[row.cell.data]
        assert row.cell.seed == 1
        if row.without or row.table != "ablation":
            assert row.cell.config() == first.config()
        else:
            changed = [part for part in ("loss", "model", "data", "training")
                       if getattr(row.cell.config(), part) != getattr(first.config(), part)]  # fmt: skip
            assert len(changed) == 1
    assert {row.without for row in rows} == {None, *BOLD_MAKERS, *TRAINING_MAKERS}
    names = [replace(row.cell, data="").folder + row.cell.data for row in rows]
    assert len(set(names)) == len(names)
