import numpy as np
import pytest


def test_cells_average_and_enlarge_as_torch_does():
    import torch
    from torch.nn import functional

    from studies.map_limits import bilinear, cell_average, repeated

    values = np.random.default_rng(0).random((24, 24))
    assert cell_average(24, 8).sum(axis=1) == pytest.approx(1)
    means = cell_average(24, 8) @ values @ cell_average(24, 8).T
    assert means == pytest.approx(values.reshape(8, 3, 8, 3).mean(axis=(1, 3)))
    assert cell_average(3, 2) == pytest.approx(np.array([[2, 1, 0], [0, 1, 2]]) / 3)  # cells that cut a pixel
    for size in (24, 30):
        expected = functional.interpolate(torch.from_numpy(means)[None, None], size=(size, size), mode="bilinear")
        assert bilinear(8, size) @ means @ bilinear(8, size).T == pytest.approx(expected[0, 0].numpy())
    assert repeated(8, 24) @ means @ repeated(8, 24).T == pytest.approx(means.repeat(3, axis=0).repeat(3, axis=1))


def test_the_oracle_is_exact_where_cells_hold_the_mask_and_bounded_where_they_do_not():
    from studies.map_limits import oracle_iou

    whole, half = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    whole[4:8, 8:12] = True
    half[:2, :4] = True  # half of a cell of 4 x 4
    assert oracle_iou([whole], 4)["constant_dataset"] == 1
    assert oracle_iou([half], 4) == {**oracle_iou([half], 4), "constant_dataset": 0.5, "constant_per_image": 0.5}
    assert oracle_iou([whole], 16) == dict.fromkeys(oracle_iou([whole], 16), 1.0)


def made_row(cell: str, share: float, auroc: float, *, seed: int = 0) -> dict:
    metrics = {"image": {"auroc": auroc, "recall": 0.5, "false_alarm_rate": 0.1}, "pixel": {"auroc": None}}
    return {"cell": cell, "data": "screw", "contamination": share, "seed": seed, "error": None, "metrics": metrics}


def test_contamination_has_a_line_per_metric_and_method_and_a_column_per_share():
    from docs.generate.studies import contamination

    rows = [
        *(made_row("r-u, 0 % bad", 0.0, 0.9, seed=seed) for seed in (0, 1)),
        made_row("r-u, 2.5 % bad", 0.025, 0.8),
        {**made_row("PaDiM, 0 % bad", 0.0, 0.7), "error": "no disk left"},
    ]
    lines = contamination(rows).splitlines()
    assert "|  |  | 0 % | 2.5 % |" in lines
    assert "| image AUROC | r-u | 0.900 ± 0.000 | 0.800 |" in lines
    assert "| pixel AUROC | r-u | - | - |" in lines
    assert "| recall | r-u | 0.500 ± 0.000 | 0.500 |" in lines
    assert "| image AUROC | PaDiM | - | - |" in lines
    assert lines[-1] == "Seeds: 0, 1."
