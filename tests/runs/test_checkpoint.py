import json
import os

import pytest
import torch

from cavga.errors import ModelFileError
from cavga.runs import checkpoint
from tests.conftest import golden_description, with_flipped_bit


@pytest.fixture
def saved(tmp_path):
    checkpoint.save_model(tmp_path, {"weight": torch.arange(6.0).view(2, 3)}, golden_description())
    return tmp_path


def test_what_is_saved_is_loaded(saved):
    tensors, description = checkpoint.load_model(saved)
    assert tensors["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert description["variant"] == "d-u"
    assert description["format_version"] == 1


def test_one_changed_byte_of_the_weights_is_noticed(saved):
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.safetensors is damaged"):
        checkpoint.load_model(saved)


def test_a_changed_description_is_noticed(saved):
    path = saved / "model.json"
    path.write_text(path.read_text().replace("d-u", "r-u"))
    with pytest.raises(ModelFileError, match="was changed after it was written"):
        checkpoint.load_model(saved)


@pytest.mark.parametrize("content", ["[]", "{}", "not json", '{"sha256": 1}', '"x"', ""])
def test_a_file_that_is_no_description(saved, content):
    (saved / "model.json").write_text(content)
    with pytest.raises(ModelFileError, match="is not a model description"):
        checkpoint.load_model(saved)


def test_a_later_format_is_refused_by_number(saved):
    document = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**document, "format_version": 99}))
    with pytest.raises(ModelFileError, match="format version 99"):
        checkpoint.load_model(saved)


def test_missing_files_are_named(tmp_path, saved):
    with pytest.raises(ModelFileError, match="no such model"):
        checkpoint.load_model(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="not a run folder"):
        checkpoint.load_model(tmp_path / "empty")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"model\.safetensors is missing"):
        checkpoint.load_model(saved)


def test_tensors_and_record_in_one_file(tmp_path):
    checkpoint.save_tensors(tmp_path / "state", {"a": torch.ones(2)}, {"epoch": 3})
    tensors, record = checkpoint.load_tensors(tmp_path / "state")
    assert tensors["a"].tolist() == [1, 1]
    assert record["epoch"] == 3
    (tmp_path / "state").write_bytes(b"garbage")
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        checkpoint.load_tensors(tmp_path / "state")


def test_a_flipped_bit_of_a_training_state_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.save_tensors(path, {"a": torch.arange(12.0)}, {"fingerprint": "f", "log": [{"total": 1.5}]})
    content = path.read_bytes()
    expected, record = checkpoint.load_tensors(path)
    num_refused = 0
    for bit in range(0, len(content) * 8, 5):
        path.write_bytes(with_flipped_bit(content, bit))
        try:
            tensors, found = checkpoint.load_tensors(path)
        except ModelFileError:
            num_refused += 1
            continue
        is_empty = not found  # of a file that others wrote: nothing can be resumed from that
        assert is_empty or (found == record and torch.equal(tensors["a"], expected["a"]))
    assert num_refused > len(content) * 8 / 5 * 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": None}, "object"),
        ({"preprocessing": {"image_size": [32, "32"]}}, "image_size"),
        ({"preprocessing": {"image_size": [32, True]}}, "image_size"),
        ({"preprocessing": {"image_size": [32, 0]}}, "image_size"),
        ({"variant": 3}, "variant"),
    ],
)
def test_a_description_of_wrong_content_is_refused_though_its_sum_is_right(tmp_path, change, message):
    checkpoint.save_model(tmp_path, {"a": torch.ones(1)}, {**golden_description(), **change})
    with pytest.raises(ModelFileError, match=message):
        checkpoint.load_model(tmp_path)


@pytest.mark.parametrize("missing", ["calibration", "preprocessing", "config", "provenance", "variant"])
def test_a_description_that_lacks_something_says_what(tmp_path, missing):
    description = golden_description()
    del description[missing]
    checkpoint.save_model(tmp_path, {"a": torch.ones(1)}, description)
    with pytest.raises(ModelFileError, match=missing):
        checkpoint.load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(saved, name):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ModelFileError, match="a named pipe"):
        checkpoint.load_model(saved)


def test_an_optimizer_comes_back_as_it_was():
    def make():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.Adam(layer.parameters(), lr=0.1)

    layer, optimizer = make()
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    other_layer, other = make()
    stored = {key: tensor.clone() for key, tensor in checkpoint.flatten_optimizer(optimizer, "o").items()}
    checkpoint.restore_optimizer(other, stored, "o")
    other_layer.load_state_dict(layer.state_dict())
    for one, two in ((layer, optimizer), (other_layer, other)):
        one.zero_grad()
        one(torch.ones(1, 3)).square().sum().backward()
        two.step()
    assert torch.equal(layer.weight, other_layer.weight)
