"""Statistics without scipy: binomial intervals, shares above a threshold, the two-sample Kolmogorov-Smirnov test."""

from dataclasses import dataclass

import numpy as np

from cavga.arrays import Counts, Floats

CONFIDENCE = 0.95  # of the interval
NUM_HALVINGS = 60  # of an interval of length 1: below the precision of float64
NUM_TERMS = 100  # of Kolmogorov's series; two are enough for any p-value below 0.5


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """How far the distributions of two samples lie apart, 0 to 1, and how likely that is if they are one."""

    statistic: float
    p_value: float
    is_higher: bool
    """Whether the second sample is higher where they lie furthest apart."""


def clopper_pearson(num_successes: int, num_trials: int) -> tuple[float, float]:
    """Exact 95 % interval (low, high) of a binomial rate (1934); (0, 1) without trials."""
    if not 0 <= num_successes <= num_trials:
        raise ValueError(f"expected 0 <= successes <= trials, got {num_successes} of {num_trials}")
    low = _lower_end(num_successes, num_trials) if num_successes else 0.0
    high = 1 - _lower_end(num_trials - num_successes, num_trials) if num_successes < num_trials else 1.0
    return low, high


def exceedance_p_value(num_above: int, num_new: int, *, num_good: int, rank: int) -> float:
    """The probability that `num_above` or more new values exceed the `rank`-th smallest good one, if all are alike.

    Exact (negative hypergeometric): it takes into account that few good values set a threshold only roughly.
    """
    above = np.arange(num_above, num_new + 1)
    below, normal_above = num_new - above, num_good - rank
    ways = _log_ways(above + normal_above, above) + _log_ways(below + rank - 1, below)
    return float(np.exp(ways - _log_ways(np.array([num_good + num_new]), np.array([num_new]))).sum())


def kolmogorov_smirnov(first: Floats, second: Floats) -> KolmogorovSmirnov:
    """The two-sample test of Kolmogorov and Smirnov, two-sided; both samples need at least one value.

    The p-value is Kolmogorov's limit with Stephens' correction for small samples (1970), not the exact one: where
    that is below 0.05, at most 0.02 from it.
    """
    values = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (first, second)]
    second_higher, second_lower = float(np.max(shares[0] - shares[1])), float(np.max(shares[1] - shares[0]))
    statistic = max(second_higher, second_lower)
    root = np.sqrt(len(first) * len(second) / (len(first) + len(second)))
    p_value = _kolmogorov((root + 0.12 + 0.11 / root) * statistic)
    return KolmogorovSmirnov(statistic, p_value, is_higher=second_higher >= second_lower)


def _kolmogorov(distance: float) -> float:
    """The probability that Kolmogorov's distribution exceeds `distance`."""
    if distance < 0.2:  # the series converges slowly there, to 1 - 1e-12
        return 1.0
    k = np.arange(1, NUM_TERMS + 1)
    terms = (-1.0) ** (k - 1) * np.exp(-2 * (k * distance) ** 2)
    return float(np.clip(2 * terms.sum(), 0, 1))


def _lower_end(num_successes: int, num_trials: int) -> float:
    """The rate at which so many successes or more have the probability of one tail."""
    k = np.arange(num_successes, num_trials + 1)
    ways = _log_ways(np.full_like(k, num_trials), k)
    low, high = 0.0, 1.0
    for _ in range(NUM_HALVINGS):
        rate = (low + high) / 2
        tail = np.exp(ways + k * np.log(rate) + (num_trials - k) * np.log1p(-rate)).sum()
        low, high = (low, rate) if tail > (1 - CONFIDENCE) / 2 else (rate, high)
    return (low + high) / 2


def _log_ways(n: Counts, k: Counts) -> Floats:
    """The logarithm of n over k."""
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n.max() + 1)))])
    return log_factorials[n] - log_factorials[k] - log_factorials[n - k]
