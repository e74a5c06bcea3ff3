import pytest
import torch

from cavga.inference.graph import InferenceGraph, map_score, residual_score
from cavga.model.build import build
from tests.conftest import small_config


def make_graph(preset="recommended", variant="r-u"):
    config = small_config(preset, variant)
    torch.manual_seed(0)
    model = build(config.model, image_size=(32, 32))
    return InferenceGraph(model, image_size=(32, 32), image_score=config.model.image_score)


def photographs(count=3, size=(32, 32)):
    torch.manual_seed(1)
    return torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8)


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize("variant", ["r-u", "d-u"])
@pytest.mark.parametrize("size", [(32, 32), (50, 70)])
def test_photographs_of_any_size_give_maps_of_the_input_size(preset, variant, size):
    with torch.no_grad():
        output = make_graph(preset, variant)(photographs(size=size))
    assert output.score.shape == (3,)
    assert output.anomaly_map.shape == output.mask.shape == (3, 32, 32)
    assert torch.isfinite(output.anomaly_map).all()
    assert not output.mask.any()  # no threshold is set yet


def test_the_map_needs_no_gradient():
    with torch.inference_mode():
        make_graph("paper")(photographs())


def test_the_papers_map_is_one_minus_attention():
    graph = make_graph("paper")
    images = photographs().permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        latent = graph.model.encode(images)
        expected = 1 - graph.model.attention(latent)
        assert torch.allclose(graph.model.anomaly_map(latent), expected)
    assert graph.score_images(images).anomaly_map.min() >= 0


def test_the_energy_is_minus_twice_the_logarithm_of_attention():
    graph = make_graph()
    images = photographs().permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        latent = graph.model.encode(images)
        energy, attention = graph.model.anomaly_map(latent), graph.model.attention(latent)
    assert torch.allclose(energy, -2 * attention.log(), atol=1e-4)


def test_map_score_is_the_mean_of_the_highest_hundredth():
    anomaly_map = torch.arange(400.0).view(1, 20, 20)  # 4 pixels: 396 .. 399
    assert map_score(anomaly_map).item() == 397.5
    assert map_score(torch.tensor([[[3.0, 7.0]]])).item() == 7.0


def test_residual_score_is_the_mean_absolute_difference():
    images, reconstructions = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    reconstructions[1, 0] = 0.6
    assert residual_score(images, reconstructions).tolist() == pytest.approx([0.0, 0.2])


def test_the_mask_is_the_map_at_or_above_the_threshold():
    graph = make_graph()
    with torch.no_grad():
        anomaly_map = graph(photographs()).anomaly_map
        graph.pixel_threshold.fill_(float(anomaly_map.flatten().sort().values[100]))
        output = graph(photographs())
    assert (output.mask == (anomaly_map >= graph.pixel_threshold)).all()
    assert output.mask.any()
    assert not output.mask.all()
