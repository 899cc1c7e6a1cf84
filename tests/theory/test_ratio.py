"""The exact moments of a layer's log ratio against scipy, the study's table and sums done by hand."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from fanin.errors import OptionError
from fanin.theory import log_ratio_moments

WIDTHS = st.integers(1, 300)
VARIANCES = st.floats(1e-3, 1e3)
# Sums of up to 300 float64 terms of size up to 10: rounding stays below 300 * 10 * 2e-16 < 1e-12.
ROUNDING = 1e-11


def scipy_moments(fan_in: int, fan_out: int, c: float, gate: bool) -> tuple[float, float]:
    """Mean and variance by the raw second moment, as the study writes it: E[Var + mean^2] - (E mean)^2."""
    k = np.arange(1, fan_out + 1)
    chance = stats.binom.pmf(k, fan_out, 0.5) / stats.binom.sf(0, fan_out, 0.5) if gate else (k == fan_out) * 1.0
    given_k = special.digamma(k / 2) + math.log(2) + math.log(c / fan_in)
    mean = math.fsum(chance * given_k)
    return mean, math.fsum(chance * (special.polygamma(1, k / 2) + given_k**2)) - mean**2


@pytest.mark.parametrize(
    ("width", "mean", "variance"),
    [
        (32, -0.082540, 0.177498),
        (64, -0.040109, 0.082997),
        (100, -0.025421, 0.051940),
        (256, -0.009829, 0.019819),
        (1024, -0.002445, 0.004901),
    ],
)
def test_table_of_the_study(width: int, mean: float, variance: float) -> None:
    found = log_ratio_moments(width, width, 2.0)
    assert (round(found.mean, 6), round(found.variance, 6)) == (mean, variance)


@given(fan_in=WIDTHS, fan_out=WIDTHS, c=VARIANCES, gate=st.booleans())
def test_agrees_with_scipy_for_any_shape(fan_in: int, fan_out: int, c: float, gate: bool) -> None:
    # The oracle subtracts squares of numbers up to ln(1e3 * 300) + 2 < 15: 15^2 * 300 * 1e-16 < 1e-11.
    assert log_ratio_moments(fan_in, fan_out, c, gate) == pytest.approx(
        scipy_moments(fan_in, fan_out, c, gate), rel=ROUNDING, abs=ROUNDING
    )


@pytest.mark.parametrize("fan_out", [5000, 100_000])
def test_wide_layers_lose_no_digits(fan_out: int) -> None:
    # Recurrences of fan_out/2 steps, each rounded at 1e-16 of a value below 12: below 1e-10 at 1e5 outputs.
    k = np.arange(1, fan_out + 1)
    log_chance = (
        special.gammaln(fan_out + 1) - special.gammaln(k + 1) - special.gammaln(fan_out - k + 1) - fan_out * math.log(2)
    )
    chance = np.exp(log_chance)
    chance /= chance.sum()
    given_k = special.digamma(k / 2) + math.log(2 * 2.0 / fan_out)
    mean = math.fsum(chance * given_k)
    variance = math.fsum(chance * (special.polygamma(1, k / 2) + (given_k - mean) ** 2))
    found = log_ratio_moments(fan_out, fan_out, 2.0)
    assert found.mean == pytest.approx(mean, abs=1e-10)
    assert found.variance == pytest.approx(variance, abs=1e-10)


@pytest.mark.parametrize("fan_out", [1, 2, 3, 7])
def test_agrees_with_the_integral_over_the_density(fan_out: int) -> None:
    """No digamma at all: quadrature of ln(r) over the mixture of chi-square densities, in u = ln chi2."""
    weights = [math.comb(fan_out, k) / (2**fan_out - 1) for k in range(1, fan_out + 1)]

    def density(u: float) -> float:
        return math.fsum(w * stats.chi2.pdf(math.exp(u), k) * math.exp(u) for k, w in enumerate(weights, 1))

    # Below u = -80 the density is under e^-40, above u = 5 (chi2 = 148) under e^-70.
    parts = [(-80.0, -10.0), (-10.0, 0.0), (0.0, 5.0)]
    first = sum(integrate.quad(lambda u: u * density(u), *ends)[0] for ends in parts)
    second = sum(integrate.quad(lambda u: u * u * density(u), *ends)[0] for ends in parts)
    found = log_ratio_moments(4, fan_out, 2.0)
    # quad's own error estimate is 1.5e-8 per part.
    assert found.mean == pytest.approx(first + math.log(2.0 / 4), abs=1e-6)
    assert found.variance == pytest.approx(second - first**2, abs=1e-6)


def test_one_unit_by_hand() -> None:
    """One output: K = 1 is certain, ln chi2_1 has mean -gamma - ln 2 and variance pi^2 / 2."""
    found = log_ratio_moments(1, 1, 1.0)
    assert found == pytest.approx((-np.euler_gamma - math.log(2), math.pi**2 / 2))
    assert found == log_ratio_moments(1, 1, 1.0, gate=False)


@given(fan_in=WIDTHS, fan_out=WIDTHS, c=VARIANCES, gate=st.booleans())
def test_c_moves_the_mean_by_its_logarithm_and_nothing_else(fan_in: int, fan_out: int, c: float, gate: bool) -> None:
    at_two = log_ratio_moments(fan_in, fan_out, 2.0, gate)
    found = log_ratio_moments(fan_in, fan_out, c, gate)
    assert found.mean == pytest.approx(at_two.mean + math.log(c / 2), rel=ROUNDING, abs=ROUNDING)
    assert found.variance == at_two.variance


@given(fan_in=WIDTHS, fan_out=WIDTHS, c=VARIANCES)
def test_bounds(fan_in: int, fan_out: int, c: float) -> None:
    """Jensen: E ln r < ln E r, where E r given K >= 1 is c fan_out / (2 fan_in) / (1 - 2^-fan_out)."""
    gated = log_ratio_moments(fan_in, fan_out, c)
    plain = log_ratio_moments(fan_in, fan_out, c, gate=False)
    alive = -math.expm1(-fan_out * math.log(2))
    assert gated.mean < math.log(c * fan_out / (2 * fan_in * alive))
    assert plain.mean < math.log(c * fan_out / fan_in)
    assert gated.variance >= plain.variance > 0


@pytest.mark.parametrize("width", [1000, 4000])
def test_wide_limit(width: int) -> None:
    """Delta method: E ln r -> -5/(2n), Var ln r -> 5/n, up to relative corrections of 10/n at most."""
    found = log_ratio_moments(width, width, 2.0)
    assert found.mean == pytest.approx(-2.5 / width, rel=10 / width)
    assert found.variance == pytest.approx(5 / width, rel=10 / width)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, 5, 2.0), "fan_in=0: must be an integer >= 1"),
        ((5, 0, 2.0), "fan_out=0: must be an integer >= 1"),
        ((5, 5, 0.0), "c=0.0: must be a finite number > 0"),
        ((5, 5, math.inf), "c=inf: must be a finite number > 0"),
    ],
)
def test_values_out_of_range(arguments: tuple[int, int, float], line: str) -> None:
    with pytest.raises(OptionError, match=line):
        log_ratio_moments(*arguments)


def test_theory_needs_neither_scipy_nor_torch() -> None:
    """Drawing a line must not cost their imports (seconds)."""
    code = "import sys, fanin.theory; print(sorted({'scipy', 'torch'} & set(sys.modules)))"
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here)
    assert done.stdout.strip() == "[]"
