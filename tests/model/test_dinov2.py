"""DINOv2 as an encoder, with random weights: its forward pass beside two others, its file, a run from it."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import cavga
from cavga.config.backbones import BACKBONES
from cavga.config.presets import make_config
from cavga.errors import ModelFileError
from cavga.exporting.export import export_run
from cavga.model.dinov2 import Dinov2Encoder, cubic_weights
from cavga.model.networks import whole_network
from cavga.model.pretrained import load_encoder_weights
from tests.conftest import run_command, small_config, without_shape_checks

SMALL, BASE = "dinov2_vits14", "dinov2_vitb14"
# What the published files hold besides the blocks, and of each block: name and shape, C channels.
TOP = {
    "cls_token": "1 1 C", "pos_embed": "1 1370 C", "mask_token": "1 C", "patch_embed.proj.weight": "C 3 14 14",
    "patch_embed.proj.bias": "C", "norm.weight": "C", "norm.bias": "C",
}  # fmt: skip
OF_BLOCK = {
    "norm1.weight": "C", "norm1.bias": "C", "attn.qkv.weight": "3C C", "attn.qkv.bias": "3C",
    "attn.proj.weight": "C C", "attn.proj.bias": "C", "ls1.gamma": "C", "norm2.weight": "C", "norm2.bias": "C",
    "mlp.fc1.weight": "4C C", "mlp.fc1.bias": "4C", "mlp.fc2.weight": "C 4C", "mlp.fc2.bias": "C", "ls2.gamma": "C",
}  # fmt: skip


def encoder(name=SMALL, depth=1):
    return Dinov2Encoder(BACKBONES[name], depth=depth, frozen=True).eval()


@pytest.fixture(scope="module")
def state():
    """Random tensors of a published file, none of them at a value that would hide it (LayerScale 1, bias 0)."""
    torch.manual_seed(0)
    return {name: 0.05 * torch.randn(tensor.shape) + is_factor(name) for name, tensor in meta(SMALL).items()}


def is_factor(name):
    return ("norm" in name and name.endswith("weight")) or name.endswith("gamma")


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize(("name", "channels", "num_parameters"), [(SMALL, 384, 22_056_576), (BASE, 768, 86_580_480)])
def test_the_tensors_are_those_of_the_published_file(name, channels, num_parameters):
    expected = {**TOP, **{f"blocks.{i}.{key}": shape for i in range(12) for key, shape in OF_BLOCK.items()}}
    factors = {"C": channels, "3C": 3 * channels, "4C": 4 * channels}
    shapes = {key: tuple(factors.get(part) or int(part) for part in shape.split()) for key, shape in expected.items()}
    with torch.device("meta"):
        network = whole_network(name)
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == shapes
    assert sum(tensor.numel() for tensor in network.parameters()) == num_parameters


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (16, 16), (37, 24), (48, 64)])
def test_positions_are_interpolated_as_the_published_code_does(rows, columns):
    grid = torch.randn(1, 3, 37, 37, dtype=torch.float64)
    scale = ((rows + 0.1) / 37, (columns + 0.1) / 37)
    expected = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
    assert torch.allclose(cubic_weights(37, rows) @ (grid @ cubic_weights(37, columns).T), expected, atol=1e-9)


def test_positions_of_518_px_are_the_files_own(state):
    one = encoder()
    one.pos_embed.data = state["pos_embed"]
    assert torch.equal(one._positions(37, 37), state["pos_embed"])


def numpy_stage(state, image):
    """The first stage in float64, written down once more: photograph in [0, 1], (rows, columns, colours) -> map."""
    p = {key: tensor.double().numpy() for key, tensor in state.items()}
    rows, columns = image.shape[0] // 16, image.shape[1] // 16
    pixels = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for axis, number in ((0, rows), (1, columns)):
        length = pixels.shape[axis]
        places = (np.arange(14 * number) + 0.5) * 16 / 14 - 0.5
        pixels = np.apply_along_axis(
            lambda line, at, n: np.interp(at, np.arange(n), line), axis, pixels, places, length
        )
    tokens = [p["cls_token"][0, 0] + p["pos_embed"][0, 0]]
    grid = p["pos_embed"][0, 1:].reshape(37, 37, -1)
    for row in range(rows):
        for column in range(columns):
            patch = pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
            embedded = np.einsum("yxc,kcyx->k", patch, p["patch_embed.proj.weight"]) + p["patch_embed.proj.bias"]
            tokens.append(embedded + numpy_position(grid, (row, rows), (column, columns)))
    x = np.stack(tokens)
    for i in range(3):
        x = numpy_block({key.removeprefix(f"blocks.{i}."): value for key, value in p.items()}, x)
    return numpy_norm(x, p, "norm")[1:].reshape(rows, columns, -1).transpose(2, 0, 1)


def numpy_position(grid, *places):
    """Bicubic by its 16 neighbours, a = -0.75; a place is a patch's number along an axis, and how many there are."""
    taps = []
    for number, count in places:
        at = (number + 0.5) * 37 / (count + 0.1) - 0.5
        near = [math.floor(at) + step for step in (-1, 0, 1, 2)]
        taps.append([(min(max(one, 0), 36), numpy_cubic(abs(at - one))) for one in near])
    return sum(grid[y, x] * (of_y * of_x) for y, of_y in taps[0] for x, of_x in taps[1])


def numpy_cubic(distance, a=-0.75):
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a


def numpy_norm(x, p, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def numpy_block(p, x):
    """Six heads of 64 channels."""
    qkv = numpy_norm(x, p, "norm1") @ p["attn.qkv.weight"].T + p["attn.qkv.bias"]
    found = []
    for head in range(6):
        query, key, value = (qkv[:, 384 * part + 64 * head : 384 * part + 64 * head + 64] for part in range(3))
        products = np.exp(query @ key.T / 8)
        found.append(products / products.sum(axis=1, keepdims=True) @ value)
    attended = np.concatenate(found, axis=1) @ p["attn.proj.weight"].T + p["attn.proj.bias"]
    x = x + p["ls1.gamma"] * attended
    wide = numpy_norm(x, p, "norm2") @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]
    wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
    return x + p["ls2.gamma"] * (wide @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"])


def test_the_first_stage_is_what_numpy_makes_of_the_same_weights(weights, state):
    one = encoder()
    load_encoder_weights(one, str(weights))
    image = np.random.default_rng(0).random((32, 48, 3))
    with torch.no_grad():
        found = one(torch.from_numpy(image).permute(2, 0, 1)[None].float())[1][0]
    expected = numpy_stage(state, image)
    assert found.shape == (384, 2, 3)
    assert np.abs(found.numpy() - expected).max() < 2e-4 * np.abs(expected).max()


def torch_layer(state, number):
    """A block as torch's own pre-norm layer: LayerScale is a factor of the projections before it."""
    p = {key.removeprefix(f"blocks.{number}."): tensor for key, tensor in state.items()}
    layer = nn.TransformerEncoderLayer(
        384, 6, 1536, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    tensors = {
        "self_attn.in_proj_weight": p["attn.qkv.weight"],
        "self_attn.in_proj_bias": p["attn.qkv.bias"],
        "self_attn.out_proj.weight": p["ls1.gamma"][:, None] * p["attn.proj.weight"],
        "self_attn.out_proj.bias": p["ls1.gamma"] * p["attn.proj.bias"],
        "linear1.weight": p["mlp.fc1.weight"],
        "linear1.bias": p["mlp.fc1.bias"],
        "linear2.weight": p["ls2.gamma"][:, None] * p["mlp.fc2.weight"],
        "linear2.bias": p["ls2.gamma"] * p["mlp.fc2.bias"],
        **{f"{norm}.{part}": p[f"{norm}.{part}"] for norm in ("norm1", "norm2") for part in ("weight", "bias")},
    }
    layer.load_state_dict(tensors)
    return layer.eval()


@torch.no_grad()
def test_every_stage_is_what_torchs_own_layers_make_of_the_same_weights(weights, state):
    one, images = encoder(depth=4), torch.rand(2, 3, 32, 48)
    load_encoder_weights(one, str(weights))
    tokens = one._embedded(one.normalised(images), 2, 3)
    found = one(images)
    assert list(found) == [1, 2, 3, 4]
    for number in range(12):
        tokens = torch_layer(state, number)(tokens)
        if number % 3 == 2:
            normed = functional.layer_norm(tokens, (384,), state["norm.weight"], state["norm.bias"], eps=1e-6)
            expected = normed[:, 1:].transpose(1, 2).reshape(2, 384, 2, 3)
            assert torch.allclose(found[number // 3 + 1], expected, atol=1e-4 * float(expected.abs().max()))


def test_gradients_of_gradients_reach_the_image():
    one = Dinov2Encoder(BACKBONES[SMALL], depth=1, frozen=False)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(one(images)[1].square().sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "register_tokens": torch.zeros(1, 4, 384)}, "register_tokens is not one of this encoder's"),
        (lambda s: {**s, "pos_embed": torch.zeros(1, 197, 384)}, r"pos_embed has shape \(1, 197, 384\), expected"),
        (
            lambda s: {f"embeddings.{key}": tensor for key, tensor in s.items()},
            "none of its tensors is one of this enc",
        ),
        (lambda _: {k: t for k, t in meta(BASE).items()}, f"holds the weights of {BASE}, not of {SMALL}"),
        (lambda _: {k: t for k, t in meta("resnet18").items()}, f"holds the weights of resnet18, not of {SMALL}"),
    ],
)
def test_another_file_is_one_line(monkeypatch, tmp_path, state, change, message):
    path = tmp_path / "w.pth"
    path.touch()
    monkeypatch.setattr("cavga.model.pretrained.read_tensors", lambda _path: change(state))
    with pytest.raises(ModelFileError, match=message) as caught:
        load_encoder_weights(encoder(), str(path))
    assert "\n" not in str(caught.value)


def meta(name):
    """A network's tensors without their values."""
    with torch.device("meta"):
        return whole_network(name).state_dict()


def test_its_weights_are_not_fetched(capsys, tmp_path, category):
    message = r"download dinov2_vits14_pretrain\.pth of the DINOv2 repository and give it as weights \(--weights "
    with pytest.raises(ModelFileError, match=message):
        load_encoder_weights(encoder(), "imagenet")
    command = ("train", category, "--output", tmp_path / "run", "--encoder", SMALL, "--image-size", 32)
    code, _, err = run_command(capsys, *command)
    assert code == 1
    assert re.search(message, err.splitlines()[-1])
    assert not (tmp_path / "run").exists()


PREDICT = """
import json, sys
import cavga
found = [prediction.score for prediction in cavga.AnomalyDetector.load(sys.argv[1]).predict(sys.argv[2])]
print(json.dumps([found, "torch" in sys.modules]))
"""


def test_a_safetensors_file_says_what_the_published_one_does(weights, state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    for path in (weights, tmp_path / "w.safetensors"):
        one = encoder()
        load_encoder_weights(one, str(path))
        assert all(torch.equal(tensor, state[key]) for key, tensor in one.state_dict().items())


def test_a_run_from_its_file_trains_and_its_export_says_the_same_without_torch(weights, category, tmp_path):
    model = {"variant": "r-u", "encoder": SMALL, "weights": str(weights), "stages": (1,), "latent_channels": 8}
    small = small_config(epochs=1)
    # At 32 px, 2 x 2 patches, every training patch is a centre of the prior, and its distance of 0 is noise.
    data = replace(small.data, image_size=(64, 64))
    config = replace(make_config("recommended", {"model": model}), data=data, training=small.training)
    run = cavga.train(category, tmp_path / "run", config)
    assert cavga.evaluate(run, category).metrics["provenance"]["encoder"].startswith("R (dinov2_vits14) to layer1")
    with without_shape_checks():
        export_run(run)
    photographs = category / "test/good"
    expected = [p.score for p in cavga.AnomalyDetector.load_in_torch(run, device="cpu").predict(photographs)]
    said = subprocess.run(
        [sys.executable, "-c", PREDICT, run, photographs], capture_output=True, text=True, check=True
    ).stdout
    scores, has_torch = json.loads(said)
    assert not has_torch
    assert scores == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert len(set(scores)) == len(scores)
