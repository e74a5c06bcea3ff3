import numpy as np
import pytest
from scipy import stats

from cavga.metrics.significance import clopper_pearson, exceedance_p_value, kolmogorov_smirnov


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # 0 of n: high solves (1 - p)^n = 0.025; 10 of 10 is its mirror image.
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (0, 0, 0.0, 1.0),
        (5, 10, 0.18709, 0.81291),  # published tables
    ],
)
def test_clopper_pearson(successes, trials, low, high):
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=1e-5)


def test_clopper_pearson_covers_exactly():
    from scipy.stats import binom

    low, high = clopper_pearson(7, 23)
    assert binom.sf(6, 23, low) == pytest.approx(0.025)  # 7 or more, were the rate `low`
    assert binom.cdf(7, 23, high) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="11 of 10"):
        clopper_pearson(11, 10)


@pytest.mark.parametrize(("successes", "trials"), [(1, 5), (5, 100), (250, 5000), (4999, 5000), (60_000, 200_000)])
def test_clopper_pearson_is_scipys(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("num_first", "num_second"), [(5, 500), (10, 30), (20, 20), (20, 1000), (57, 400), (200, 200)])
def test_kolmogorov_smirnov_is_scipys(num_first, num_second):
    rng = np.random.default_rng(0)
    reach = np.sqrt(1 / num_first + 1 / num_second)
    for shift in np.linspace(-2.5, 2.5, 21) * reach:
        first, second = rng.normal(size=num_first), rng.normal(size=num_second) + shift
        found, exact = kolmogorov_smirnov(first, second), stats.ks_2samp(first, second, method="exact")
        assert found.statistic == pytest.approx(exact.statistic, abs=1e-12)
        if exact.pvalue < 0.05:
            assert found.is_higher == (exact.statistic_sign > 0)
            assert found.p_value == pytest.approx(exact.pvalue, abs=0.02)
        else:
            assert found.p_value > 0.03


def test_equal_samples_and_samples_apart():
    values = np.arange(40.0)
    assert kolmogorov_smirnov(values, values).p_value == 1
    above = kolmogorov_smirnov(values, values + 100)
    assert (above.statistic, above.is_higher) == (1, True)
    assert above.p_value < 1e-12
    assert not kolmogorov_smirnov(values, values - 100).is_higher


@pytest.mark.parametrize(
    ("num_above", "num_new", "num_good", "rank"), [(0, 5, 19, 19), (3, 60, 59, 57), (40, 1000, 24, 24)]
)
def test_exceedances_are_a_beta_binomial(num_above, num_new, num_good, rank):
    expected = stats.betabinom.sf(num_above - 1, num_new, num_good - rank + 1, rank)
    found = exceedance_p_value(num_above, num_new, num_good=num_good, rank=rank)
    assert found == pytest.approx(expected, rel=1e-9)
