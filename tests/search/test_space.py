"""The axes of a search: Hydra's grammar, read as Hydra's Optuna sweeper reads it, and what goes with choices."""

from __future__ import annotations

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fanin.errors import UserError
from fanin.search.random_proposals import QuasiRandomProposals, RandomProposals
from fanin.search.space import Axis, Space, space_of

LINE = (
    "optimizer.lr=tag(log,interval(1e-4,1))", "model.depth=range(2,20)", "activation=relu,tanh,gelu",
    "regularizer.l2.strength=tag(log,interval(1e-6,1e-2))", "model=mlp",
)  # fmt: skip


def of(*words: str, tied: dict[tuple[str, ...], list[str]] | None = None) -> Space:
    return space_of(OverridesParser.create().parse_overrides(list(words)), tied or {})


def test_a_line_written_for_hydras_optuna_sweeper() -> None:
    space = of(*LINE)
    assert space.axes == [
        Axis("optimizer.lr", "float", 1e-4, 1.0, log=True),
        Axis("model.depth", "int", 2, 19),
        Axis("activation", "choice", choices=("relu", "tanh", "gelu")),
        Axis("regularizer.l2.strength", "float", 1e-6, 1e-2, log=True),
    ]
    assert space.fixed == ["model=mlp"]


@pytest.mark.parametrize(
    ("word", "axis"),
    [
        ("a=interval(1,5)", Axis("a", "float", 1, 5)),
        ("a=int(interval(1,5))", Axis("a", "int", 1, 5)),
        ("a=tag(log,int,interval(1,64))", Axis("a", "int", 1, 64, log=True)),
        ("a=range(0,1,0.25)", Axis("a", "float", 0.0, 0.75, step=0.25)),
        ("a=range(0,0.3,0.1)", Axis("a", "float", 0.0, 0.2, step=0.1)),
        ("a=range(9,1,-3)", Axis("a", "int", 3, 9, step=3)),
        ("+a.b=[1,2],[3]", Axis("+a.b", "choice", choices=("[1,2]", "[3]"))),
        ("a=shuffle(1,2)", Axis("a", "choice", choices=("1", "2"))),
    ],
)
def test_every_form_of_an_axis(word: str, axis: Axis) -> None:
    assert of(word).axes == [axis]


def test_what_is_tied_to_choices_is_there_beside_them_alone() -> None:
    tied = {
        ("optimizer=adam",): ["optimizer.beta1=interval(0.8,0.99)", "optimizer.lr=0.001"],
        ("optimizer=sgd",): ["optimizer.lr=0.1"],
        ("optimizer=adam", "model=cnn"): ["optimizer.lr=0.002"],
        ("optimizer=adam", "model=mlp"): ["seed_of_mine=1"],
    }
    space = of("optimizer=sgd,adam", "model=mlp,cnn", tied=tied)
    assert [axis.name for axis in space.all_axes] == ["optimizer", "model", "optimizer.beta1 if optimizer=adam"]

    def job(optimizer: str, model: str) -> list[str]:
        return space.job(lambda axis: {"optimizer": optimizer, "model": model}.get(axis.key, 0.9))

    assert job("sgd", "cnn") == ["optimizer.lr=0.1", "optimizer=sgd", "model=cnn"]
    assert job("adam", "cnn") == ["optimizer.beta1=0.9", "optimizer.lr=0.002", "optimizer=adam", "model=cnn"]
    typed = of("optimizer=sgd,adam", "model=mlp", "optimizer.lr=7", tied=tied)  # what is typed outdoes all
    assert "optimizer.lr=7" in typed.job(lambda axis: axis.at(0.99))
    assert not any("optimizer.lr=0" in word for word in typed.job(lambda axis: axis.at(0.99)))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 50), st.integers(1, 50), st.booleans())
def test_a_value_lies_within_its_axis(share: float, low: int, more: int, log: bool) -> None:
    for axis in (Axis("a", "int", low, low + more, log=log), Axis("a", "float", low, low + more, log=log)):
        value = axis.at(share)
        assert isinstance(value, int if axis.kind == "int" else float)
        assert low <= value <= low + more  # type: ignore[operator]


@pytest.mark.parametrize("proposals", [RandomProposals, QuasiRandomProposals])
def test_draws_have_the_law_of_their_axes(proposals: type[RandomProposals]) -> None:
    """Kolmogorov and Smirnov's test of 512 draws: uniform in the logarithm, uniform; chi-squared of choices."""
    space = of("a=tag(log,interval(1e-4,1))", "b=interval(-1,3)", "c=x,y,z", "d=range(0,4)")
    drawn = proposals(space, 3)
    drawn.propose(512)
    values = {name: [params[name] for params in drawn.params.values()] for name in "abcd"}
    assert stats.kstest([math.log10(float(one)) for one in values["a"]], stats.uniform(-4, 4).cdf).pvalue > 1e-3
    assert stats.kstest([float(one) for one in values["b"]], stats.uniform(-1, 4).cdf).pvalue > 1e-3
    for name, options in (("c", "xyz"), ("d", range(4))):
        counts = [values[name].count(one) for one in options]
        assert sum(counts) == 512
        assert stats.chisquare(counts).pvalue > 1e-3


def test_no_configuration_twice_and_none_beyond_the_space() -> None:
    drawn = RandomProposals(of("a=1,2,3", "b=x,y"), 0)
    jobs = [*drawn.propose(4).values(), *drawn.propose(9).values()]
    assert sorted(map(tuple, jobs)) == sorted((f"a={a}", f"b={b}") for a in (1, 2, 3) for b in "xy")


def test_proposals_are_those_of_their_seed_however_they_are_asked_for() -> None:
    space = of(*LINE)
    at_once, bit_by_bit, other = (RandomProposals(space, seed) for seed in (5, 5, 6))
    jobs = at_once.propose(6)
    assert bit_by_bit.propose(2) | bit_by_bit.propose(4) == jobs
    assert other.propose(6) != jobs


def test_seeds_are_no_axis() -> None:
    assert of("seed=3,1,3", "a=1,2").seeds == [3, 1]
    assert of("seed=range(2,5)", "a=1,2").seeds == [2, 3, 4]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a=tag(log,interval(0,1))", "needs LOW > 0"),
        ("a=interval(2,1)", "the first below the second"),
        ("a=tag(int,interval(0.5,2))", "integers for its ends"),
        ("a=tag(lin,interval(1,2))", "there are log and int"),
        ("a=range(3,3)", "holds no value"),
        ("a=range(0,1,0)", "a step that is not 0"),
        ("a=interval(0,1),0.5", "stands alone"),
        ("a=glob(*)", "type the options out"),
        ("seed=interval(0,3)", "seeds are integers"),
        ("pause_at=3", "pauses its runs itself"),
        ("hydra.launcher.n_jobs=1,2", "Hydra's own keys"),
        ("experiment=init_study,phase", "one command for each"),
        ("a=1", "a search needs an axis"),
    ],
)
def test_what_cannot_be_searched_is_one_line(word: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        of(word)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
