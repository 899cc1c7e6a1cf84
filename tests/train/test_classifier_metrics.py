"""The measures of a classifier against confusion matrices worked out by hand and pairs counted one by one."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Context, Decimal, localcontext
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fanin.train.classifier_metrics import evaluate, log_odds
from fanin.train.flops import _COUNTED, MOST_COUNTED, flops_of_step


def answering(answers: list[int], classes: int) -> Tensor:
    """Outputs that answer these classes."""
    return nn.functional.one_hot(torch.tensor(answers), classes).float()


def test_a_confusion_matrix_by_hand() -> None:
    # True 0: answered 0, 0, 1; true 1: 1, 2; true 2: 2, 2, 0, 2, 1.
    targets = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    found = evaluate(answering([0, 0, 1, 1, 2, 2, 2, 0, 2, 1], 3), targets)
    assert found["confusion"] == [[2, 1, 0], [0, 1, 1], [1, 1, 3]]
    assert (found["accuracy"], found["error"]) == (0.6, 0.4)
    # Columns sum to 3, 3, 4 and rows to 3, 2, 5; f1_k = 2 C_kk / (row + column).
    assert found["precision"] == pytest.approx((2 / 3 + 1 / 3 + 3 / 4) / 3, rel=1e-15)
    assert found["recall"] == pytest.approx((2 / 3 + 1 / 2 + 3 / 5) / 3, rel=1e-15)
    assert found["f1"] == pytest.approx((4 / 6 + 2 / 5 + 6 / 9) / 3, rel=1e-15)


def test_a_class_never_answered_counts_as_zero() -> None:
    # Everything is answered 0: precision_0 = 1/4, recall_0 = 1, f1_0 = 2/5; the other three classes have 0.
    found = evaluate(torch.zeros(8, 4), torch.arange(8) % 4)
    assert [row[0] for row in found["confusion"]] == [2, 2, 2, 2]
    assert (found["precision"], found["recall"]) == (1 / 16, 1 / 4)
    assert found["f1"] == pytest.approx(1 / 10, rel=1e-15)
    assert found["roc_auc"] == 0.5  # all equal: every pair counts half


def test_one_logit_is_class_one_against_class_zero() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0, 1.0, -1.0])
    targets = torch.tensor([0, 0, 0, 1, 1])
    found = evaluate(logits.unsqueeze(1), targets)
    assert found["confusion"] == [[2, 1], [1, 1]]  # the logit of 0 answers class 0
    # Pairs (class 1, class 0): 1 beats -2 and 0, -1 beats -2: 3 of 6.
    assert found["roc_auc"] == pytest.approx(0.5, rel=1e-15)
    # The same classifier with two outputs, which an amount common to both does not change.
    shifted = torch.stack([torch.tensor([5.0, -3.0, 0.0, 8.0, 1.0]), logits + torch.tensor([5.0, -3.0, 0.0, 8.0, 1.0])])
    assert evaluate(shifted.T, targets) == found


def area_by_pairs(outputs: Tensor, targets: Tensor) -> float:
    """The mean over classes of the share of pairs in the right order, with softmax in 60 digits."""
    areas = []
    with localcontext(Context(prec=60)):
        rows = [[Decimal(score).exp() for score in row] for row in outputs.tolist()]
        # The odds p/(1-p) keep apart what p near 1 would round together.
        for k in range(outputs.shape[1]):
            odds = [row[k] / sum(row[:k] + row[k + 1 :]) for row in rows]
            own = [value for value, target in zip(odds, targets.tolist(), strict=True) if target == k]
            others = [value for value, target in zip(odds, targets.tolist(), strict=True) if target != k]
            close = Decimal(10) ** -40  # of 60 digits
            wins = sum(0.5 if abs(a / b - 1) < close else float(a > b) for a in own for b in others)
            areas.append(wins / (len(own) * len(others)))
    return math.fsum(areas) / len(areas)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(5, 30), st.sampled_from([0.5, 5.0, 80.0]))
def test_the_area_under_the_curve_is_a_count_of_pairs(seed: int, classes: int, count: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % classes
    # A scale of 80 makes softmax round to 0 and 1 everywhere; copies of one row make ties.
    outputs = torch.randn(count, classes, generator=random, dtype=torch.float64) * scale
    outputs[: count // 3] = outputs[0]
    # A mean of at most 5 quotients of exact counts: rounding only.
    assert evaluate(outputs, targets)["roc_auc"] == pytest.approx(area_by_pairs(outputs, targets), rel=1e-14)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.sampled_from([0.1, 1.0, 37.7]))
def test_equal_chances_count_half_however_they_are_written(seed: int, classes: int, step: float) -> None:
    """p_k depends neither on what is added to a row nor on the order of the others: 60 digits know, float64 forgets."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.arange(40) % classes
    outputs = torch.randint(0, 3, (40, classes), generator=random).double() * 2.0**-3
    outputs += step * torch.randint(0, 5, (40, 1), generator=random)
    exact = ((outputs - outputs.amin(dim=1, keepdim=True)) * 8).round() / 8
    assert evaluate(outputs, targets)["roc_auc"] == pytest.approx(area_by_pairs(exact, targets), rel=1e-14)


def test_all_answers_right_is_1_whatever_classes_are_absent() -> None:
    found = evaluate(answering([0, 1, 1], 4), torch.tensor([0, 1, 1]))
    assert [found[name] for name in ("precision", "recall", "f1", "accuracy")] == [1, 1, 1, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(6, 60), st.booleans())
def test_the_measures_are_those_of_scikit_learn(seed: int, classes: int, count: int, ties: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (count,), generator=random)
    outputs = torch.randn(count, classes, generator=random, dtype=torch.float64)
    outputs = outputs.round() if ties else outputs
    found, answers = evaluate(outputs, targets), outputs.argmax(dim=1)
    options = {"average": "macro", "zero_division": 0}
    measures = metrics.precision_recall_fscore_support(targets, answers, **options)
    # A mean of at most 6 quotients of exact counts, against the same in another order.
    assert [found["precision"], found["recall"], found["f1"]] == pytest.approx(measures[:3], rel=1e-14)
    assert found["accuracy"] == metrics.accuracy_score(targets, answers)
    assert found["confusion"] == metrics.confusion_matrix(targets, answers, labels=range(classes)).tolist()
    if len(set(targets.tolist())) < classes:
        assert found["roc_auc"] is None
    else:  # its sum of at most 60 trapezoids
        equal_ones_equal = log_odds(outputs).round(decimals=9)
        area = metrics.roc_auc_score(nn.functional.one_hot(targets, classes), equal_ones_equal, average="macro")
        assert found["roc_auc"] == pytest.approx(area, rel=1e-13)


def test_large_scores_are_still_told_apart() -> None:
    # softmax gives p = 1 for class 0 in all rows; the order is that of the margins 100, 200, 300 and 400.
    outputs = torch.tensor([[300.0, 0.0], [100.0, 0.0], [400.0, 0.0], [200.0, 0.0]])
    assert outputs.double().softmax(dim=1)[:, 0].tolist() == [1.0] * 4
    found = evaluate(outputs, torch.tensor([0, 1, 0, 1]))
    assert (found["roc_auc"], found["error"]) == (1.0, 0.5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_log_odds_are_those_of_softmax(scores: list[float]) -> None:
    odds = log_odds(torch.tensor([scores], dtype=torch.float64))[0]
    weights = [math.exp(score) for score in scores]
    for k, value in enumerate(odds.tolist()):
        rest = math.fsum(weights[:k] + weights[k + 1 :])
        # exp and log of numbers below e^20 lose some units of 1e-16 relative to sums of size 40.
        assert value == pytest.approx(math.log(weights[k] / rest), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_outputs_are_ordered(value: float) -> None:
    outputs = torch.tensor([[value, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = evaluate(outputs, torch.tensor([0, 1, 0]))
    assert found["error"] == (0.0 if value > 0 else 1 / 3)
    assert found["roc_auc"] == (1.0 if value > 0 else 0.5)  # pairs (0, 1) and (2, 1)


def test_a_missing_class_has_no_area() -> None:
    found = evaluate(answering([0, 1, 1], 3), torch.tensor([0, 1, 0]))
    assert found["roc_auc"] is None
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["recall"] == pytest.approx((1 / 2 + 1) / 2)  # of the classes that are true or answered


@pytest.mark.parametrize("outputs", [torch.tensor([[0.0, 1.0], [math.nan, 0.0]]), torch.zeros(0, 2)])
def test_nan_or_no_outputs_have_no_measures(outputs: Tensor) -> None:
    found = evaluate(outputs, torch.zeros(len(outputs), dtype=torch.int64))
    assert set(found) == {"accuracy", "error", "precision", "recall", "f1", "roc_auc", "confusion"}
    assert set(found.values()) == {None}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(1, 9), st.booleans())
def test_flops_of_a_chain_of_matrices(sizes: list[int], batch: int, bias: bool) -> None:
    layers = [nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes)]
    products = [a * b for a, b in pairwise(sizes)]
    parts = [part for layer in layers for part in (layer, nn.Tanh())]
    expected = 3 * 2 * batch * sum(products) - 2 * batch * products[0]
    assert flops_of_step(nn.Sequential(*parts), torch.randn(batch, sizes[0])) == expected


class Attention(nn.Module):
    """A model with a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 12)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(inputs).split(4, dim=2)
        return nn.functional.scaled_dot_product_attention(query, key, value).mean(dim=1)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.Flatten(), nn.Dropout(), nn.Linear(12, 3),
            ),
            (5, 2, 8, 10),
        ),
        (Attention(), (3, 7, 6)),
    ],
    ids=["convolutions", "attention"],
)  # fmt: skip
def test_flops_are_those_of_torchs_own_counter(model: nn.Module, shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    flops = flops_of_step(model, inputs)
    # No trace: neither statistics nor gradients, nor a draw.
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with FlopCounterMode(display=False) as counter:
        model(inputs).sum().backward()
    assert flops == counter.get_total_flops() > 0


def test_a_named_structure_is_counted_once_a_shape() -> None:
    passes = []
    model = nn.Linear(3, 2)
    model.register_forward_hook(lambda *_: passes.append(1))
    counts = [flops_of_step(model, torch.zeros(batch, 3), "linear 3 to 2") for batch in (4, 4, 8)]
    assert counts == [4 * 2 * 2 * 6, 4 * 2 * 2 * 6, 8 * 2 * 2 * 6]
    assert len(passes) == 2


@pytest.mark.slow
def test_what_is_not_asked_for_is_not_imported() -> None:
    code = (
        "import sys, torch\nimport fanin.train.classifier_metrics as m, fanin.train.flops as e\n"
        "assert e.flops_of_step(torch.nn.Linear(3, 2), torch.zeros(1, 3)) == 24\n"
        "assert m.evaluate(torch.eye(2), torch.arange(2))['roc_auc'] == 1\n"
        "print(sorted({'sklearn', 'sympy', 'torch._dynamo', 'scipy'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


def test_counts_of_few_structures_are_kept() -> None:
    for size in range(MOST_COUNTED + 5):
        assert flops_of_step(nn.Linear(3, 2), torch.zeros(1, 3), f"kept {size}") == 24
    assert len(_COUNTED) <= MOST_COUNTED
