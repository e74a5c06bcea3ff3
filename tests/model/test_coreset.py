import pytest
import torch

from cavga.benchmark.baselines.patchcore import nearest_neighbours
from cavga.model import coreset
from cavga.model.coreset import greedy_coreset


def test_the_coreset_takes_the_farthest_point_each_time():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [4.0]])
    assert greedy_coreset(points, 4, first=0).tolist() == [0, 3, 4, 2]


@pytest.mark.parametrize("pool_size", [1, 7, 50, 4096])
def test_pools_of_any_size_choose_what_the_plain_algorithm_does(pool_size, monkeypatch):
    monkeypatch.setattr(coreset, "POOL_SIZE", pool_size)
    monkeypatch.setattr(coreset, "CHUNK", 100)
    points = torch.randn(600, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, distances = [7], torch.cdist(points, points)
    while len(expected) < 80:
        expected.append(int(distances[:, expected].amin(dim=1).argmax()))
    assert greedy_coreset(points, 80, first=7).tolist() == expected


def test_the_coreset_chooses_no_patch_twice():
    assert sorted(greedy_coreset(torch.ones(5, 3), 5, first=2).tolist()) == [0, 1, 2, 3, 4]


def test_the_coreset_covers_better_than_chance():
    generator = torch.Generator().manual_seed(0)
    crowd, rare = torch.randn(2000, 8, generator=generator), 20 * torch.randn(20, 8, generator=generator)
    points = torch.cat([crowd, rare])
    chosen = points[greedy_coreset(points, 40, first=0)]
    drawn = points[torch.randperm(len(points), generator=generator)[:40]]
    assert nearest_neighbours(points, chosen)[0].max() < 0.5 * nearest_neighbours(points, drawn)[0].max()
