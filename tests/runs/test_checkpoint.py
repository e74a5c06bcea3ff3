import json

import pytest
import torch

from cavga.errors import ModelFileError
from cavga.runs import checkpoint


@pytest.fixture
def saved(tmp_path):
    checkpoint.save_model(tmp_path, {"weight": torch.arange(6.0).view(2, 3)}, {"variant": "r-u"})
    return tmp_path


def test_what_is_saved_is_loaded(saved):
    tensors, description = checkpoint.load_model(saved)
    assert tensors["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert description["variant"] == "r-u"
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
    path.write_text(path.read_text().replace("r-u", "d-u"))
    with pytest.raises(ModelFileError, match="was changed after it was written"):
        checkpoint.load_model(saved)


@pytest.mark.parametrize("content", ["[]", "{}", "not json", '{"sha256": 1}', '"x"', ""])
def test_a_file_that_is_no_description(saved, content):
    (saved / "model.json").write_text(content)
    with pytest.raises(ModelFileError, match="not a model description"):
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
    assert record == {"epoch": 3}
    (tmp_path / "state").write_bytes(b"garbage")
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        checkpoint.load_tensors(tmp_path / "state")


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
