import numpy as np
import pytest
import torch

import cavga
from cavga.config import is_self_supervised
from cavga.data.dataset import TrainingImages
from cavga.errors import UsageError
from cavga.fitting import fit_whitened
from cavga.losses import made_region_loss
from cavga.model.cell_classifier import CellClassifier, top_mean, with_context
from cavga.model.variants import build
from cavga.presets import make_config
from cavga.self_supervision import _made_images

from .conftest import small_config, texture, write_category

CPU = torch.device("cpu")


def test_loss_by_hand():
    logits, labels = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    first = 0.5 * np.log(2)
    second = 1 / (1 + np.exp(-2)) * np.log(1 + np.exp(2))
    assert made_region_loss(logits, labels).item() == pytest.approx(10 * (first + second) / 2, rel=1e-5)


def test_a_cell_sees_itself_its_surroundings_and_the_whole_image():
    z = torch.zeros(1, 1, 8, 8)
    z[0, 0, 0, 0] = 64.0
    context = with_context(z)
    assert context[0, :, 0, 0].tolist() == pytest.approx([64.0, context[0, 1, 0, 0].item(), 1.0])
    assert context[0, 1, 0, 0] > context[0, 1, 7, 7] >= 0
    assert context[0, :, 7, 7].tolist()[0] == 0


def test_the_images_logit_is_the_mean_of_its_highest_cells():
    cam = torch.zeros(1, 8, 8)
    cam[0, 0, :2] = torch.tensor([4.0, 2.0])
    assert top_mean(cam).item() == 3.0  # a thirty-second of 64 cells
    classifier = CellClassifier(latent_channels=2).eval()
    z = torch.randn(3, 2, 8, 8)
    logits = classifier(z)
    assert torch.equal(logits[:, 0], -logits[:, 1])
    assert torch.allclose(logits[:, 1] * 2, top_mean(classifier.cam(z)))


def textures(count, start=0):
    return np.repeat(np.stack([texture(i, size=64) for i in range(start, start + count)])[..., None], 3, axis=3)


def fitted(images, num_normal):
    config = make_config("recommended", {"data": {"image_size": (64, 64)},
                                         "model": {"variant": "r-s", "weights": "none"}})  # fmt: skip
    torch.manual_seed(0)
    model = build(config.model, image_size=(64, 64))
    fit_whitened(model, TrainingImages(images, num_normal), config, device=CPU)
    return model


def squares(count, start):
    images = textures(count, start)
    images[:, 20:34, 24:38] = 235
    return images


def test_c_finds_what_it_has_not_seen_and_attends_to_the_place():
    model = fitted(textures(24), 24)
    with torch.no_grad():
        good, bad = (
            model.encode(torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255)
            for part in (textures(8, 700), squares(8, 700))
        )
        q = [model.classifier(latent.mu)[:, 1] for latent in (good, bad)]
        attention = model.class_attention(bad, bad.mu)
    assert q[1].min() > q[0].max()
    assert torch.allclose(attention.sum(dim=1), torch.ones(8, 8, 8))
    inside = attention[:, 1, 3:4, 3:5].mean()
    assert inside > 3 * attention[:, 1, 6:, :].mean()


def test_labelled_bad_images_join_in_without_masks(category, tmp_path):
    few = write_category(tmp_path / "data", num_labelled=2)
    run = cavga.train(few, tmp_path / "run", small_config(variant="r-s", epochs=1))
    alone = cavga.train(category, tmp_path / "alone", small_config(variant="r-s", epochs=1))
    origins = [cavga.AnomalyDetector.load(path).description["provenance"] for path in (run, alone)]
    assert [origin["train_anomalous"] for origin in origins] == [2, 0]  # none is drawn from the test set


def test_the_made_images_are_a_function_of_the_seed():
    images = textures(6)
    first, again, other = (list(_made_images(images, seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert len(first) != len(other) or any(not np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_the_paper_has_no_self_supervised_variant():
    assert is_self_supervised(make_config("recommended", {"model": {"variant": "d-s"}}).model)
    with pytest.raises(UsageError, match="r-s is for a whitened latent"):
        make_config("paper", {"model": {"variant": "r-s"}})
