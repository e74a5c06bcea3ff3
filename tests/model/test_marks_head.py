import pytest
import torch

from cavga.model.marks_head import NUM_TOP, READOUTS, MarksHead, pooled, top_patches


def test_pooled_is_mean_and_log_deviation_of_each_channel():
    mu = torch.randn(2, 3, 8, 8)
    features = pooled(mu, torch.zeros(2, 8, 8))
    assert torch.allclose(features[:, :3], mu.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(features[:, 3:].exp(), mu.flatten(2).std(dim=2, correction=0), atol=1e-5)


def test_top_patches_is_the_mean_z_of_those_of_most_energy():
    mu, energy = torch.randn(1, 3, 8, 8), torch.zeros(1, 8, 8)
    energy[0, 2:6, 2:6] = 10  # sixteen of them
    assert NUM_TOP == 16
    inside = mu[0, :, 2:6, 2:6].mean(dim=(1, 2))
    assert torch.allclose(top_patches(mu, energy)[0], inside, atol=1e-5)


def test_where_all_energies_are_equal_all_patches_count():
    mu = torch.randn(1, 3, 8, 8)
    assert torch.allclose(top_patches(mu, torch.full((1, 8, 8), 0.1))[0], mu[0].mean(dim=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("name", READOUTS)
def test_a_head_is_found_again_among_tensors(name):
    head = MarksHead(name, 6)
    head.direction.copy_(torch.arange(6.0))
    tensors = {f"model.marks.{key}": value for key, value in head.state_dict().items()}
    again = MarksHead.shaped_like(tensors, "model.marks.")
    assert again is not None
    assert again.readout == name
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.direction, head.direction)


def test_without_tensors_there_is_no_head():
    assert MarksHead.shaped_like({}, "model.marks.") is None
