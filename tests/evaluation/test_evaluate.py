import pytest

import cavga
from cavga.errors import CavgaError


def test_what_cannot_be_written_is_said_before_anything_is_scored(exported_run, category, tmp_path, monkeypatch):
    def scored(*_arguments, **_named):
        raise AssertionError("scored")

    monkeypatch.setattr("cavga.evaluation.evaluate.evaluate_records", scored)
    (tmp_path / "file").touch()
    with pytest.raises(CavgaError, match="cannot write to"):
        cavga.evaluate(exported_run, category, tmp_path / "file/results", device="cpu")
