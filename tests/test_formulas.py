"""Formulas of docstrings as LaTeX: by hand, and each of the package's own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "scripts"))
from formulas import latex, typeset  # noqa: E402

BY_HAND = {
    "v <- rho v + (1 - rho) g^2": r"v \leftarrow \rho v + (1 - \rho) g^{2}",
    "beta1^t": r"\beta_{1}^{t}",
    "sqrt(v/(1 - beta2^t)) + eps": r"\sqrt{\frac{v}{1 - \beta_{2}^{t}}} + \varepsilon",
    "z / sqrt 2": r"\frac{z}{\sqrt{2}}",
    "gain^2 * 2 / (fan_in + fan_out)": (
        r"\mathrm{gain}^{2} \cdot \frac{2}{\mathrm{fan}_{\mathrm{in}} + \mathrm{fan}_{\mathrm{out}}}"
    ),
    "q* = V(q*)/D(q*)": r"q^{\ast} = \frac{V(q^{\ast})}{D(q^{\ast})}",
    "phi'^2": r"\phi'^{2}",
    "e^(-z^2/2)": r"e^{- z^{2} / 2}",
    "H_CC^-1 g_C": r"H_{CC}^{-1} g_{C}",
    "x <- x - ||x||_2 |z|": r"x \leftarrow x - \lVert x\rVert_{2} \lvert z\rvert",
    "sum_(j != y_b) max(0, s_bj)": r"\sum_{j \ne y_{b}} \max(0, s_{bj})",
    "W^T u": r"W^{\top} u",
    "min + (a - min)/2": r"\mathrm{min} + \frac{a - \mathrm{min}}{2}",
    "a / b / c": r"\frac{\frac{a}{b}}{c}",
    "1e-8": r"10^{-8}",
}


@pytest.mark.parametrize("plain", BY_HAND)
def test_a_formula_by_hand(plain: str) -> None:
    assert latex(plain) == BY_HAND[plain]


def test_code_and_prices_stay_as_they_are() -> None:
    assert typeset("$a/b$ for `$a/b$` and 5 $") == r"$\frac{a}{b}$ for `$a/b$` and 5 $"


@pytest.mark.parametrize("plain", ["(a + b", "||x", "sqrt(", "[a)"])
def test_a_bracket_without_its_partner_is_named(plain: str) -> None:
    with pytest.raises(ValueError, match="is missing"):
        latex(plain)


def test_every_formula_of_the_package_is_whole() -> None:
    """Braces of the LaTeX balance, no name of a Greek letter is left spelled out, and no plain notation is left."""
    found = {
        formula
        for path in (ROOT / "src" / "fanin" / "parts").rglob("*.py")
        for formula in re.findall(r"\$([^$]+)\$", path.read_text())
    }
    assert len(found) > 200
    for formula in found:
        made = latex(formula)
        assert made.count("{") == made.count("}"), formula
        assert not re.search(r"<-|<=|>=|!=|sqrt\(|\*|(?<!\\)\b(theta|rho|beta|lambda)\b", made), (formula, made)
