import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights, resnet18, resnet34

from cavga.config.backbones import BACKBONES
from cavga.errors import ModelFileError, UsageError
from cavga.model import pretrained
from cavga.model.encoder import DcganEncoder, TorchvisionEncoder
from cavga.model.networks import whole_network


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return resnet18(weights=None).state_dict()


def encoder(depth=3, *, name="resnet18", frozen=True):
    return TorchvisionEncoder(BACKBONES[name], depth=depth, frozen=frozen)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_whole_state_dict_loads_with_extra_keys(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    one = encoder()
    pretrained.load_encoder_weights(one, str(path))
    assert torch.equal(one.state_dict()["layer3.0.conv1.weight"], state["layer3.0.conv1.weight"])


def test_stages_beyond_the_depth_may_be_missing_but_not_needed_ones(tmp_path, state):
    path = tmp_path / "part.safetensors"
    save_file({key: value for key, value in state.items() if not key.startswith(("layer4", "fc"))}, path)
    pretrained.load_encoder_weights(encoder(3), str(path))
    with pytest.raises(ModelFileError, match="of layer4"):
        pretrained.load_encoder_weights(encoder(4), str(path))


def test_imported_batch_norm_is_fixed(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    one = encoder(4, frozen=False)
    pretrained.load_encoder_weights(one, str(tmp_path / "w.safetensors"))
    assert one.has_fixed_norm
    assert not one.bn1.weight.requires_grad
    assert one.conv1.weight.requires_grad


def test_none_leaves_the_encoder_as_it_is():
    one = encoder()
    before = one.conv1.weight.clone()
    pretrained.load_encoder_weights(one, "none")
    assert torch.equal(one.conv1.weight, before)
    assert not encoder(1, frozen=False).has_fixed_norm


def test_a_wrong_shape_is_named(tmp_path, state):
    save_file({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"conv1.weight has shape \(64, 1, 7, 7\)"):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / "w.safetensors"))


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="no such weights file"):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / "nothing.pth"))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_garbage_is_no_weights(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not a weights file at all")
    with pytest.raises(ModelFileError):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / name))


class NotATensor:
    pass


def test_a_pickled_object_is_refused(tmp_path):
    torch.save({"model": NotATensor()}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match="more than plain tensors"):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / "w.pth"))


def test_a_pickled_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match="not a state dict"):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / "w.pth"))


def test_imagenet_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fail(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    message = r"save https://\S+resnet18\S+ as \S+resnet18.*encoder \(--encoder\) efficientnet_lite0 needs no download"
    with pytest.raises(ModelFileError, match=message) as caught:
        pretrained.load_encoder_weights(encoder(), "imagenet")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_imagenet_from_the_cache(tmp_path, monkeypatch, state):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    from torchvision.models import ResNet18_Weights

    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1])
    one = encoder()
    pretrained.load_encoder_weights(one, "imagenet")
    assert torch.equal(one.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize("name", ["squeezenet1_0", "convnext_tiny"])
def test_other_networks_load_from_the_cache_and_from_a_file_that_ends_earlier(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(5)
    one, state = encoder(2, name=name), whole_network(name).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / get_model_weights(name)["IMAGENET1K_V1"].url.rsplit("/", 1)[1])
    save_file(one.state_dict(), tmp_path / "part.safetensors")
    for source in ("imagenet", str(tmp_path / "part.safetensors")):
        other = encoder(2, name=name)
        pretrained.load_encoder_weights(other, source)
        expected = state if source == "imagenet" else one.state_dict()
        assert other.has_fixed_norm
        assert all(torch.equal(tensor, expected[key]) for key, tensor in other.state_dict().items())
    with pytest.raises(ModelFileError, match=r"does not fit encoder \w+: lacks \d+ tensors of features\.\d"):
        pretrained.load_encoder_weights(encoder(3, name=name), str(tmp_path / "part.safetensors"))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("resnet18", "squeezenet1_0"),
        ("squeezenet1_0", "resnet18"),
        ("convnext_tiny", "squeezenet1_0"),
        ("wide_resnet50_2", "resnet18"),
    ],
)
def test_a_file_of_another_network_is_one_line_that_names_both(tmp_path, own, other):
    save_file(encoder(3, name=other).state_dict(), tmp_path / "w.safetensors")
    message = f"the weights of {other}, not of {own}: give --encoder {other} "
    with pytest.raises(ModelFileError, match=message) as caught:
        pretrained.load_encoder_weights(encoder(name=own), str(tmp_path / "w.safetensors"))
    assert "\n" not in str(caught.value)


def test_a_deeper_network_of_the_family_is_refused_although_it_has_every_tensor(tmp_path):
    save_file(resnet34(weights=None).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"layer1\.2\.\S+ is not one of this encoder's tensors"):
        pretrained.load_encoder_weights(encoder(), str(tmp_path / "w.safetensors"))


def test_d_takes_no_imagenet_weights(tmp_path, state):
    d = DcganEncoder(depth=2, frozen=True)
    with pytest.raises(UsageError, match="no ImageNet weights for variant d"):
        pretrained.load_encoder_weights(d, "imagenet")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match="the weights of resnet18, not of DC-GAN"):
        pretrained.load_encoder_weights(d, str(tmp_path / "w.safetensors"))
