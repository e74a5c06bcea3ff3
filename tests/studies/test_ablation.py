"""studies/ablation.py: what is left out is left out, and nothing else."""

from dataclasses import replace

import numpy as np

from cavga.synthetic.crops import synthesise_images
from cavga.synthetic.strong import STRONG_TYPES
from cavga.synthetic.subtle import SUBTLE_TYPES


def test_images_are_made_without_the_kind_that_is_left_out(monkeypatch):
    from cavga.synthetic import strong
    from studies.ablation import left_out

    called = []

    def counting(kind, synthesise):
        return lambda scene, rng: called.append(kind) or synthesise(scene, rng)

    counted = {kind: (counting(kind, synthesise), share) for kind, (synthesise, share) in STRONG_TYPES.items()}
    monkeypatch.setattr(strong, "STRONG_TYPES", counted)
    normal = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with left_out("stroked"):
        synthesise_images(normal, seed=0)
    assert set(called) == set(STRONG_TYPES) - {"stroked"}
    synthesise_images(normal, seed=0)
    assert set(called) == set(STRONG_TYPES)


def test_every_row_changes_one_thing_of_a_row_with_nothing_left_out():
    from studies.ablation import rows_of

    rows = list(rows_of(1, "weights.safetensors"))
    full = {row.experiment.data: row.experiment for row in rows if row.table != "ablation"}
    assert len(full) == 5
    for row in rows:
        first = full[row.experiment.data]
        assert row.experiment.seed == 1
        if row.without or row.table != "ablation":
            assert row.experiment.config() == first.config()
        else:
            changed = [part for part in ("loss", "model", "data", "training")
                       if getattr(row.experiment.config(), part) != getattr(first.config(), part)]  # fmt: skip
            assert len(changed) == 1
    assert {row.without for row in rows} == {None, *STRONG_TYPES, *SUBTLE_TYPES}
    names = [replace(row.experiment, data="").folder + row.experiment.data for row in rows]
    assert len(set(names)) == len(names)
