import numpy as np
import pytest
import torch

from cavga.errors import DataError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.marking.marks import mark_photographs, said_of
from cavga.marking.suggest import choose_unlike, suggest_marks
from cavga.model.cavga import Cavga
from cavga.runs.marks_file import BAD


def test_suggested_are_images_near_the_threshold_that_are_unlike_one_another():
    scores = np.array([0.0, 1.0, 1.01, 1.02, 9.0], dtype=np.float32)
    features = torch.tensor([[0.0], [5.0], [5.1], [-5.0], [9.0]])
    assert choose_unlike(scores, features, 1.0, 1) == [1]
    assert choose_unlike(scores, features, 1.0, 2)[0] == 1
    assert 2 not in choose_unlike(scores, features, 1.0, 2)  # the twin of the first


def test_what_is_marked_is_not_suggested_and_what_is_broken_is_named(run, photographs):
    mark_photographs(run, said_of([photographs / "bad/0.png"], BAD))
    (photographs / "good/broken.png").write_bytes(b"none")
    found = suggest_marks(run, [photographs], count=3)
    assert len(found.suggestions) == 3
    assert found.num_seen == 7
    assert not any(item.path.endswith("bad/0.png") for item in found.suggestions)
    assert "broken.png" in found.failed[0]


def test_a_count_below_one_and_nothing_new_are_one_line(run, photographs):
    with pytest.raises(UsageError, match="at least 1"):
        suggest_marks(run, [photographs], count=0)
    mark_photographs(run, said_of([photographs], BAD))
    with pytest.raises(DataError, match="nothing to suggest"):
        suggest_marks(run, [photographs])


def test_a_suggested_photograph_is_encoded_once_and_scored_as_predicted(run, photographs, monkeypatch):
    encode, seen = Cavga.encode, []
    monkeypatch.setattr(Cavga, "encode", lambda self, images: (seen.append(len(images)), encode(self, images))[1])
    found = suggest_marks(run, [photographs], count=3, device="cpu")
    assert sum(seen) == 8
    detector = AnomalyDetector.load_in_torch(run, device="cpu")
    assert [item.score for item in found.suggestions] == [
        pytest.approx(detector(item.path).score, abs=1e-5) for item in found.suggestions
    ]
