"""predictions.jsonl has one writer and one reader, and one thing to say of a damaged line."""

import json

import pytest

from cavga.errors import DataError
from cavga.inference.lines import PredictionLine, jsonl, prediction_line, read_predictions


def test_what_is_written_is_read_again(tmp_path):
    lines = [
        prediction_line(
            "a/\udcff\u2028.png", score=0.5, threshold=0.25, p_value=0.02, milliseconds=1.23456, sha256="0f"
        ),
        prediction_line("b.png", score=None, threshold=0.25, label=1, error="cannot be read"),
        prediction_line("c.png", score=2.0, threshold=None, decided=True),
    ]
    assert [line.is_anomalous for line in lines] == [True, None, True]
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(jsonl(line.as_dict() for line in lines))
    found = list(read_predictions(path, needed=("path", "score")))
    assert found == [PredictionLine(**{**vars(lines[0]), "milliseconds": 1.235}), *lines[1:]]
    assert list(json.loads(path.read_bytes().splitlines()[0])) == [
        *("path", "score", "threshold", "is_anomalous", "p_value", "label", "error", "milliseconds", "sha256")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "with path and score"),
        ("[]", "with path and score"),
        ('{"path": "x"}', "with path and score"),
        ('{"path": "", "score": 1}', "with text as path, not ''"),
        ('{"path": "x", "score": "1"}', "with a finite number as score, not '1'"),
        ('{"path": "x", "score": NaN}', "with a finite number as score, not nan"),
        ('{"path": "x", "score": 1, "label": 2}', "with 0, 1 or null as label, not 2"),
        ('{"path": "x", "score": 1, "is_anomalous": "no"}', "with true, false or null as is_anomalous, not 'no'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, expected):
    path = tmp_path / "p.jsonl"
    path.write_text('{"path": "x", "score": null}\n' + text + "\n")
    with pytest.raises(DataError) as caught:
        list(read_predictions(path, needed=("path", "score")))
    what = f"expected a line of `cavga evaluate` or `cavga predict` {expected}"
    assert str(caught.value) == f"{path}, line 2: {what}; evaluate or predict again"
