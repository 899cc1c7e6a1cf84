"""Some examples of a batch stand for the others, and for other batches."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fanin.theory.batch import Batch

CLASSES, OF = 5, 60


def form(x: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pairs of gradients of softmax regression at p = 1/classes, as with outputs of 0, [B, B]."""
    residuals = (1 / CLASSES - np.eye(CLASSES)[classes]) / len(x)
    return np.asarray((residuals @ residuals.T) * (x @ x.T))


def population(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Examples that are all much alike: their gradients cancel as far as classes are equally frequent."""
    classes = rng.integers(0, CLASSES, count)
    x = np.concatenate([np.ones((count, 1)), 0.2 * rng.standard_normal((count, 4))], axis=1)
    return x * (1 + 0.05 * classes[:, None]) * rng.uniform(0.8, 1.2, (count, 1)), classes


def test_other_batches_have_other_numbers_of_each_class() -> None:
    rng = np.random.default_rng(3)
    real = np.array([form(*population(rng, OF)).sum() for _ in range(2000)])
    known = []
    while len(known) < 100:
        x, classes = population(rng, OF)
        rows = np.argsort(classes, kind="stable")[::2]
        if np.bincount(classes[rows], minlength=CLASSES).min() < 2:
            continue
        batch = Batch(np.ones(OF // 2), OF, classes[rows], CLASSES, np.bincount(classes, minlength=CLASSES))
        known.append(batch.over_batches(form(x[rows], classes[rows])))
    means, moved, variances = np.array(known).T
    logs = np.log(real)
    assert means.mean() == pytest.approx(real.mean(), abs=4 * (means.std() / 10 + real.std() / 2000**0.5))
    assert moved.mean() == pytest.approx(logs.mean() - np.log(real.mean()), abs=0.05)
    assert variances.mean() == pytest.approx(logs.var(), rel=0.25)


def test_pairs_of_classes_count_as_in_the_whole_batch() -> None:
    """What depends on the classes alone is known from a few examples exactly."""
    rng = np.random.default_rng(4)
    classes = np.sort(rng.integers(0, CLASSES, OF))
    table = rng.standard_normal((CLASSES, CLASSES))
    rows = np.arange(0, OF, 3)
    whole = table[np.ix_(classes, classes)].sum() / OF**2
    batch = Batch(np.ones(len(rows)), OF, classes[rows], CLASSES, np.bincount(classes, minlength=CLASSES))
    some = table[np.ix_(classes[rows], classes[rows])] / len(rows) ** 2
    assert (some * batch.pair_weights()).sum() == pytest.approx(whole, rel=1e-12)
