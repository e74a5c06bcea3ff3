"""What else can use marks, on the same frozen features: logistic regression, and a deviation network (DevNet).

Each gives scores of normal images by a fit without their fold, and of others by a fit to all.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from studies.marks.latents import Images

Scores = NDArray[np.float32]
NUM_STEPS, HALF_BATCH, LEARNING_RATE = 150, 8, 1e-2
MARGIN, NUM_REFERENCES, TOP_SHARE = 5.0, 5000, 0.1  # as published (Pang et al. 2019, 2021)


def logistic_regression(normal: Images, marks: Images, seed: int) -> Callable[[Images], Scores]:
    """On pooled features of the encoder, both classes weighing alike."""
    rows = np.concatenate([normal.pooled.numpy(), marks.pooled.numpy()])
    scaler = StandardScaler().fit(normal.pooled.numpy())
    model = LogisticRegression(class_weight="balanced", max_iter=300, random_state=seed)
    model.fit(scaler.transform(rows), np.repeat([0, 1], [len(normal.pooled), len(marks.pooled)]))
    return lambda images: model.decision_function(scaler.transform(images.pooled.numpy())).astype(np.float32)


def deviation_network(normal: Images, marks: Images, seed: int) -> Callable[[Images], Scores]:
    """A layer on every patch of z, the mean of its highest tenth, and the deviation loss."""
    generator = torch.Generator().manual_seed(seed)
    references = torch.randn(NUM_REFERENCES, generator=generator)
    unit = normal.z.float().std(dim=(0, 2, 3))
    weight = (0.01 * torch.randn(len(unit), generator=generator)).requires_grad_()
    bias = torch.zeros(()).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], LEARNING_RATE, weight_decay=1e-2)

    def scores(z: Tensor) -> Tensor:
        patches = torch.einsum("bkij,k->bij", z.float(), weight / unit).flatten(1) + bias
        return patches.topk(max(1, round(TOP_SHARE * patches.shape[1])), dim=1).values.mean(dim=1)

    for _ in range(NUM_STEPS):
        good = normal.z[torch.randint(len(normal.z), (HALF_BATCH,), generator=generator)]
        bad = marks.z[torch.randint(len(marks.z), (HALF_BATCH,), generator=generator)]
        deviation = (scores(torch.cat([good, bad])) - references.mean()) / references.std()
        loss = deviation[:HALF_BATCH].abs().mean() + functional.relu(MARGIN - deviation[HALF_BATCH:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        unit, weight = unit.detach(), weight.detach()
        return lambda images: torch.cat([scores(some) for some in images.z.split(64)]).detach().numpy()
