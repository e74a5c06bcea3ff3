"""The numbers of the paper and of the decisions are those of the code, and where it is cheap, they act as they say."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import optim

import cavga
from cavga.benchmark.baselines.index import BASELINES
from cavga.benchmark.experiments.experiment import FROZEN_PAPER
from cavga.benchmark.experiments.table_7 import SMALL
from cavga.benchmark.textures import TEXTURE_SETTINGS
from cavga.config.presets import PAPER, PRETRAINING, make_config
from cavga.config.schema import SECTIONS, RunConfig, as_dict, is_one_cycle
from cavga.data.dataset import TrainingImages
from cavga.data.readers import published
from cavga.losses import unsupervised_objective, vae_loss, weakly_supervised_objective
from cavga.model.build import build
from cavga.model.classifiers import GuidedHead
from cavga.model.encoder import TorchvisionEncoder
from cavga.synthetic.strong import STRONG_TYPES
from cavga.training import fit_guided_head
from cavga.training.fit_latent import whitening_of
from cavga.training.loop import make_networks, one_cycle, train, training_step
from tests.conftest import AfterEachStep, small_config
from tests.contracts.pinned_numbers import COMPARED, DETAILS, PINNED

PACKAGE = Path(cavga.__file__).parent
DECISIONS = Path(__file__).parents[2] / "docs/decisions"
VALUES = {name: value for values in PINNED.values() for name, value in values.items()}

# Every number of a configuration: of the default, of preset `paper` where it differs, and who says so.
SETTINGS = {
    "data.image_size": ("auto", (256, 256), "0024; 0003, recalled of the supplementary"),
    "data.mask_cut": (0.5, None, "0009"),
    "data.calibration_fraction": (0.2, None, "0015"),
    "data.anomalous_fraction": (0.02, None, "the text: 2 % of the anomalous images"),
    "model.latent_channels": (128, 512, "0011; 0003"),
    "model.spectrum": ((0.0, 1.0), None, "0020"),
    "model.map_cell": (8, None, "0019"),
    "model.decoder_width": (16, 64, "0016: no score of the default reads it; a quarter of the port's"),
    "model.stages": (None, (4,), "the text: ResNet-18"),
    "loss.vae_weight": (1.0, None, "Eq. 4 and 6, w_r"),
    "loss.kl_weight": (1e-3, 1.0, "0005; Eq. 1"),
    "loss.adversarial_weight": (None, 1.0, "Eq. 4 and 6, w_adv"),
    "loss.attention_weight": (0.01, None, "Eq. 4, w_ae"),
    "loss.classification_weight": (1.0, 0.001, "0008; Eq. 6, w_c"),
    "loss.guided_attention_weight": (0.01, None, "Eq. 6, w_cga"),
    "loss.region_weight": (1.0, None, "0014"),
    "training.seed": (0, None, "what the committed rows were measured with"),
    "training.epochs": (None, 150, "0003, recalled of the supplementary"),
    "training.batch_size": (16, None, "0003, recalled of the supplementary"),
    "training.learning_rate": (1e-3, 1e-4, "0003, recalled of the supplementary"),
    "calibration.false_alarm_rate": (0.05, None, "README.md"),
    "calibration.mask_false_alarm_rate": (0.1, None, "0013"),
}


def numbers_of_the_package() -> Iterator[str]:
    """Every constant of a module whose value holds a number, as module.NAME."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    pairs = zip(names, values, strict=True)
                case ast.Assign(targets=[name], value=value) | ast.AnnAssign(target=name, value=ast.expr() as value):
                    pairs = iter([(name, value)])
                case _:
                    continue
            yield from (f"{module}.{ast.unparse(name)}" for name, value in pairs if has_number(value))


def has_number(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Constant) and type(part.value) in (int, float) for part in ast.walk(node))


def is_number(value: object) -> bool:
    return type(value) in (int, float) or (isinstance(value, tuple) and all(type(v) in (int, float) for v in value))


def test_every_number_has_a_source_or_a_reason_why_it_needs_none():
    details = [f"{module}.{name}" for group in DETAILS.values() for module, names in group.items()
               for name in names.split()]  # fmt: skip
    listed = [*VALUES, *COMPARED, *details]
    assert len(listed) == len(set(listed))
    found = set(numbers_of_the_package())
    assert found - set(listed) == set(), "new numbers: add them to tests/contracts/pinned_numbers.py"
    assert set(listed) - found == set(), "numbers that are no more"


@pytest.mark.parametrize("name", VALUES)
def test_a_number_is_what_its_source_says(name):
    module, _, constant = name.rpartition(".")
    value = getattr(importlib.import_module(f"cavga.{module}"), constant)
    if name == "config.backbones.DCGAN_STAGES":
        value = {number: (stage.channels, stage.stride) for number, stage in value.items()}
    assert value == VALUES[name]


def test_every_decision_that_is_named_exists():
    for source in [*PINNED, *(source for *_, source in SETTINGS.values())]:
        for number in re.findall(r"\b00\d\d\b", source):
            assert list(DECISIONS.glob(f"{number}-*.md")), source
        for document in re.findall(r"[\w/-]+\.md", source):
            assert (DECISIONS.parents[1] / document).is_file(), source


def test_the_numbers_of_a_configuration_are_what_their_source_says():
    found = {
        f"{section}.{item.name}": tuple(getattr(getattr(config, section), item.name) for config in (RunConfig(), PAPER))
        for section in SECTIONS
        for item in fields(getattr(PAPER, section))
    }
    numbers = {name: values for name, values in found.items() if any(is_number(value) for value in values)}
    expected = {name: (usual, usual if paper is None else paper) for name, (usual, paper, _) in SETTINGS.items()}
    assert numbers == expected


@pytest.mark.parametrize(
    ("model", "whitening", "stages", "epochs", "adversarial_weight"),
    [
        ({}, 0.25, (1, 2, 3), 1, 0.01),  # 0011
        ({"variant": "r-u", "weights": "none"}, 0.5, (0, 1), 10, 0.01),  # 0004, 0005
        ({"weights": "none"}, 0.5, (1,), 10, 0.0),  # 0014
    ],
)
def test_what_is_left_open_is_filled_in_as_decided(model, whitening, stages, epochs, adversarial_weight):
    config = make_config("recommended", {"model": model})
    assert (config.model.whitening, config.model.stages) == (whitening, stages)
    assert (config.training.epochs, config.loss.adversarial_weight) == (epochs, adversarial_weight)


def test_pretraining_is_dc_gans():  # 0018
    assert PRETRAINING == {
        "data": {"image_size": (64, 64), "augment": False},
        "model": {"variant": "d-u", "weights": "none"},
        "loss": {"attention_weight": 0.0, "reduction": "means"},
        "training": {"epochs": 5, "batch_size": 128, "learning_rate": 2e-4, "schedule": "constant"},
    }


def test_the_experiments_are_those_of_the_committed_rows():
    assert FROZEN_PAPER == {
        "model": {"stages": (3,), "train_encoder": False, "latent_channels": 256},
        "training": {"epochs": 4},
    }
    assert SMALL == {
        "data": {"image_size": (32, 32)},
        "model": {"variant": "d-u", "weights": "none", "decoder_width": 32},
        "training": {"batch_size": 16},
    }
    assert (TEXTURE_SETTINGS["training"], TEXTURE_SETTINGS["data"]) == ({"epochs": 20}, {"image_size": (128, 128)})


def test_strong_anomalies_have_the_shares_that_were_set_once():  # 0014
    shares = {"foreign": 0.35, "toned": 0.12, "softened": 0.12, "stroked": 0.35, "spotted": 0.06}
    assert {name: share for name, (_, share) in STRONG_TYPES.items()} == shares


def test_the_published_counts_add_up_to_what_is_published():
    for title, train_count, test_count in (("MNIST", 60_000, 10_000), ("FashionMNIST", 60_000, 10_000),
                                           ("cifar10", 50_000, 10_000)):  # fmt: skip
        _, classes, *counts = published._ONE_CLASS[title]
        assert (len(classes), *map(sum, counts)) == (10, train_count, test_count)
    assert published._ONE_CLASS["MNIST"][2:] == (published._MNIST_TRAIN, published._MNIST_TEST)
    clips = np.array(list(published._SHANGHAITECH.values()))
    assert clips[:, :2].sum(axis=0).tolist() == [330, 107]
    assert clips[:, 2:].sum() == 8204  # 0009: every 5th frame of each test clip


def test_the_objectives_have_the_papers_weights():
    def defaults(function):
        parameters = inspect.signature(function).parameters.values()
        return {item.name: item.default for item in parameters if item.default is not inspect.Parameter.empty}

    eq_4 = {"vae_weight": 1.0, "adversarial_weight": 1.0, "attention_weight": 0.01}
    eq_6 = {"vae_weight": 1.0, "adversarial_weight": 1.0, "classification_weight": 0.001,
            "guided_attention_weight": 0.01}  # fmt: skip
    assert defaults(unsupervised_objective) == eq_4
    assert defaults(weakly_supervised_objective) == eq_6
    assert defaults(vae_loss) == {"kl_weight": 1.0}
    for weights in (eq_4, eq_6):
        assert {name: getattr(PAPER.loss, name) for name in weights} == weights


def networks_of(config):
    torch.manual_seed(0)
    model = build(config.model, image_size=config.data.input_size)
    return make_networks(model, config, torch.device("cpu"))


def test_both_optimizers_are_adam_with_dc_gans_betas():  # 0002
    networks = networks_of(small_config("paper", "d-u"))
    for optimizer in (networks.optimizer, networks.discriminator_optimizer):
        assert type(optimizer) is optim.Adam
        assert optimizer.defaults["betas"] == (0.5, 0.999)


@pytest.mark.parametrize(("reduction", "expected"), [("means", 5.0), ("sums", 5.0 * 3 * 32 * 32)])
def test_gradients_are_clipped_at_norm_5_of_means(reduction, expected):  # 0002, 0026
    config = small_config("paper", "d-u")
    networks = networks_of(config)
    parameters = [p for p in networks.model.parameters() if p.requires_grad]
    networks.optimizer = optim.SGD(parameters, lr=1.0)
    before = [p.detach().clone() for p in parameters]
    weights = replace(config.loss, vae_weight=1e6, reduction=reduction)
    training_step(
        networks, torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.long), weights, torch.Generator().manual_seed(0)
    )
    step = torch.cat([(p.detach() - b).flatten() for p, b in zip(parameters, before, strict=True)])
    assert step.norm().item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, [1e-3] * 5), ({"schedule": "one_cycle"}, [1e-3 * one_cycle(share) for share in (0.0, 0.2, 0.4, 0.6, 0.8)])],
)
def test_the_rate_stays_or_follows_one_cycle(tmp_path, chosen, expected):  # 0026
    config = small_config(variant="d-u", epochs=5, batch_size=2, **chosen)
    config = replace(config, loss=replace(config.loss, adversarial_weight=0.0))
    networks, rates = networks_of(config), []
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    train(
        networks, TrainingImages(images, 2), config, folder=tmp_path, fingerprint="x",
        progress=AfterEachStep(lambda _epochs: rates.append(networks.optimizer.param_groups[0]["lr"])),
    )  # fmt: skip
    assert rates == pytest.approx(expected)


def test_paper_follows_one_cycle_and_so_does_what_learns_from_synthetic_anomalies():  # 0026, 0014
    end_to_end, default = make_config("recommended", {"model": {"weights": "none"}}), make_config("recommended")
    assert [is_one_cycle(config) for config in (make_config("paper"), end_to_end, default)] == [True, True, False]
    assert "schedule" not in as_dict(default)["training"]  # as in models of earlier versions


def test_the_eigenvalue_floor_is_added_before_the_root():  # 0005
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 2, 4, 4, generator=generator) * torch.tensor([10.0, 0.1]).view(1, 2, 1, 1)
    rows = features.permute(0, 2, 3, 1).flatten(0, 2).double()
    values = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    whitening = whitening_of([features], power=0.5, spectrum=(0.0, 1.0), max_channels=2)
    expected = (values + 0.03 * values.mean()).rsqrt()
    assert whitening.matrix.norm(dim=1).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_half_of_the_guided_distance_is_added_to_the_energys():  # 0029
    head = GuidedHead(latent_channels=2).eval()
    head.distance = lambda z: torch.full((len(z), 8, 8), 3.0)
    found = head.anomaly_map(torch.full((1, 8, 8), 10.0), torch.zeros(1, 2, 8, 8))
    assert found.flatten().tolist() == pytest.approx([10.0 + 0.5 * 3.0] * 64)


def test_the_guided_head_is_trained_by_adamw_with_its_rate_and_decay(monkeypatch):  # 0029
    class SeenError(Exception):
        pass

    def seen(_parameters, rate, *, weight_decay):
        raise SeenError(rate, weight_decay)

    monkeypatch.setattr(torch.optim, "AdamW", seen)
    some = torch.zeros(4, 2, 8, 8)
    examples = fit_guided_head.Examples(some, some, torch.zeros(4, 8, 8), some[:0])
    with pytest.raises(SeenError) as caught:
        fit_guided_head.train_guided_head(GuidedHead(latent_channels=2), examples)
    assert caught.value.args == (2e-3, 1e-3)


def test_baselines_have_the_epochs_that_fit_into_table_7s_minutes():
    epochs = {method: found.epochs for method, found in BASELINES.items() if "table7" in found.tables}
    compared = ("memae", "lsa", "ocgan", "anogan", "adgan", "ulslm", "capsnet_pp", "capsnet_re")
    expected = {"ae_l2": 4, "ae_ssim": 4, "beta_vae": 4, "advae": 4, "gamma_vae_g": 2, **dict.fromkeys(compared, 1)}
    assert epochs == expected


def test_images_are_normalised_as_torchvisions_weights_ask_for():
    from torchvision.models import ResNet18_Weights

    from cavga.config.backbones import BACKBONES

    encoder = TorchvisionEncoder(BACKBONES["resnet18"], depth=0, frozen=True)
    asked = ResNet18_Weights.IMAGENET1K_V1.transforms()
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (asked.mean, asked.std))
    assert torch.allclose(encoder.normalised(images), (images - mean) / std)
