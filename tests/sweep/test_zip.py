"""Axes that go together: their jobs, the words that make them, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from command_line import TINY, fanin, read, runs
from fanin.api.overrides import overrides_of
from fanin.errors import UserError
from fanin.sweep.grid_axes import jobs_of


def jobs(*words: str) -> list[list[str]]:
    """The jobs of a grid that is typed."""
    return jobs_of(OverridesParser.create().parse_overrides(overrides_of(words)))


def test_a_zip_is_one_axis_of_the_product() -> None:
    made = jobs("zip(optimizer.lr=0.1,0.01; model.depth=range(2,4))", "seed=0,1")
    assert made == [
        ["optimizer.lr=0.1", "model.depth=2", "seed=0"],
        ["optimizer.lr=0.1", "model.depth=2", "seed=1"],
        ["optimizer.lr=0.01", "model.depth=3", "seed=0"],
        ["optimizer.lr=0.01", "model.depth=3", "seed=1"],
    ]


def test_two_zips_multiply_and_tags_are_what_they_stand_for() -> None:
    typed = jobs("zip(a=1,2; b=x,y)", "zip(c=3,4; d=[5],[6])")
    tagged = jobs(
        "a=tag(zip,choice(1,2))", "b=tag(zip,choice(x,y))", "c=tag(zip_2,choice(3,4))", "d=tag(zip_2,choice([5],[6]))"
    )
    assert typed == tagged
    assert [set(job) for job in typed] == [
        {"a=1", "b=x", "c=3", "d=[5]"}, {"a=1", "b=x", "c=4", "d=[6]"},
        {"a=2", "b=y", "c=3", "d=[5]"}, {"a=2", "b=y", "c=4", "d=[6]"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["zip(a=1,2; b=1,2,3)"], "zip: 2 of a, 3 of b; axes that go together have as many values each"),
        (["zip(a=1,2)"], "a=tag(zip_0,choice(1,2)): no other axis goes with it; give the tag zip_0 to one"),
        (["zip(a=1,2; b)"], "zip(b): cannot be read; type 'zip(KEY=a,b; KEY=c,d)'"),
    ],
)
def test_what_cannot_go_together_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(UserError) as told:
        jobs(*words)
    assert str(told.value) == line


@pytest.mark.slow
def test_a_zip_is_run_under_the_names_of_its_values(tmp_path: Path) -> None:
    """Of an experiment's own file, too: its params take the tags."""
    assert fanin(tmp_path, "-m", *TINY, "zip(optimizer.lr=0.2,0.4; trainer.batch_size=50,20)").code == 0
    found = [read(run / "result.json")["overrides"] for run in runs(tmp_path / "outputs" / "runs").values()]
    pairs = {(one["optimizer.lr"], one["trainer.batch_size"]) for one in found}
    assert pairs == {(0.2, 50), (0.4, 20)}
