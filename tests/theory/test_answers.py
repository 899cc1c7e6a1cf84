"""What a loss answers to drawn outputs, and how far that hangs on them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fanin.theory.answers import Answers, Residuals, answers_to
from fanin.theory.batch import Batch
from fanin.theory.drawn_maps import root
from fanin.theory.signals import Noises, Signal

CLASSES = 10
GRAM = np.array([[1.0, 0.9], [0.9, 1.5]])


def answers(residuals: Residuals) -> Answers:
    noises = Noises(2, 2)
    nothing = np.zeros((noises.rows, 2))
    top = Signal(GRAM[None], 10, nothing, np.zeros(2), np.zeros((1, 2)), np.full(2, 3.0), normal=True)
    return answers_to(top, noises, Batch(np.ones(2), 2), residuals, CLASSES)


def test_what_does_not_depend_on_the_outputs_goes_along_with_none_of_them() -> None:
    """Not by the chance of the draws, either: gradients whose examples nearly cancel would hang on it."""
    fixed = np.linspace(-1, 1, 2 * CLASSES).reshape(2, CLASSES)
    coupled = answers(lambda outputs: np.broadcast_to(fixed, outputs.shape)).coupled
    assert np.abs(coupled).max() < 1e-12 * (fixed**2).sum()


def test_answers_in_proportion_to_the_outputs() -> None:
    """E o_a.o_a o_b.o_b less E o_a.p_a o_b.p_b of independent ones: C^2 K_aa K_bb + 2 C K_ab^2 - C K_ab^2."""

    def identity(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return outputs

    exact = CLASSES**2 * np.outer(np.diag(GRAM), np.diag(GRAM)) + CLASSES * GRAM**2
    # The relative variance of a square of chi-squares is at most 8/C; draws come in pairs of one square.
    assert answers(identity).coupled == pytest.approx(exact, rel=4 * (8 / CLASSES / 128) ** 0.5)


def test_drawn_outputs_do_not_depend_on_the_signs_of_eigenvectors() -> None:
    """The root that draws are made with is the one that is symmetric and has no negative eigenvalue."""
    half = np.random.default_rng(1).normal(size=(5, 5))
    gram = half @ half.T
    found = root(gram)
    assert found == pytest.approx(found.T)
    assert found @ found == pytest.approx(gram)
    assert np.linalg.eigvalsh(found).min() > 0
