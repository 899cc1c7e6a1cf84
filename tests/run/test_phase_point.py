"""Where a recipe stands between order and chaos, in the result.json of real runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy.integrate import quad

from command_line import TINY, fanin, read, runs
from fanin.record import columns
from fanin.record.columns import names
from fanin.run.phase_point import NUMBERS


@pytest.mark.slow
def test_a_run_tells_its_point(tmp_path: Path) -> None:
    """relu at c = 3: squares grow by c/2 = 1.5 a layer, and so do angles; critical is 2. A tanh at 3 is chaotic.

    With normalization lengths do not follow these maps, and nothing is told.
    """
    typed = (*TINY, "trainer.steps=0", "model.depth=4", "initializer=variance_scaling", "normalization=none,layer")
    said = fanin(tmp_path, "-m", *typed, "initializer.c=3", "activation=relu,tanh")
    assert said.code == 0, said.err
    found = {}
    for run in runs(tmp_path / "outputs" / "runs").values():
        result = read(run / "result.json")
        chosen = result["choices"]
        found[chosen["activation"], chosen["normalization"]] = [result["init"][name] for name in NUMBERS]
    assert found["relu", "layer"] == [None] * 7
    variance, bias_variance, _, chi_par, chi_perp, spread, critical = found["relu", "none"]
    assert (variance, bias_variance, critical) == (3, 0, 2)
    assert (chi_par, chi_perp) == pytest.approx((1.5, 1.5))
    assert spread == pytest.approx(5)  # 3 (1/2) / (1/2)^2 - 1
    _, _, q, _, chi_perp, _, critical = found["tanh", "none"]
    assert critical == pytest.approx(1)
    assert chi_perp > 1
    assert q == pytest.approx(3 * square_of_tanh(q))


def square_of_tanh(q: float) -> float:
    """E tanh(sqrt(q) g)^2 by adaptive quadrature."""

    def inside(g: float) -> float:
        return math.tanh(math.sqrt(q) * g) ** 2 * math.exp(-g * g / 2) / math.sqrt(2 * math.pi)

    return float(quad(inside, -9, 9, epsabs=1e-12)[0])


def test_the_contract_names_the_numbers() -> None:
    assert set(NUMBERS) <= set(names(columns.INIT_MORE))
