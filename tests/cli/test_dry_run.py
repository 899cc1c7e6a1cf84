"""--dry-run: it lists what the same command then runs, and leaves no trace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import TINY, Said, fanin, read, runs
from fanin.sweep.step_time import cost_key

GRID = (
    "-m",
    *TINY[:3],
    "trainer.epochs=2",
    "initializer=lecun_normal,kaiming_normal",
    "hydra/launcher=fused",
    "hydra.launcher.n_jobs=1",
)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with the time of its last change and its size."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def listed(said: Said) -> dict[str, tuple[str, int]]:
    """State and steps left of each run that was listed, by name."""
    rows = [re.match(r"(\w+) +([\d,]+) +(?:\d* +)?(\S+=\S+)$", line) for line in said.out]
    return {row[3]: (row[1], int(row[2].replace(",", ""))) for row in rows if row}


@pytest.mark.slow
def test_a_grid_is_listed_as_it_is_then_run(tmp_path: Path, typed: Callable[..., Said]) -> None:
    dry = typed(*GRID, "seed=0,1", "--dry-run")
    assert (dry.code, dry.err, list(tmp_path.iterdir())) == (0, [], [])
    assert "hydra/launcher=fused: 4 runs as 1 program of up to 4 runs, one after another" in dry.out
    assert fanin(tmp_path, *GRID, "seed=0").code == 0
    made = runs(tmp_path / "outputs" / "runs")
    steps = {name: read(run / "result.json")["steps"] for name, run in made.items()}
    before = files(tmp_path)
    again = typed(*GRID, "seed=0,1", "--dry-run")
    assert files(tmp_path) == before
    assert again.out[0] == "4 runs in outputs/runs, 2 of them finished before"
    assert {name: state for name, (state, _) in listed(again).items() if state != "new"} == dict.fromkeys(made, "done")
    assert {name: left for name, (_, left) in listed(dry).items() if name in made} == steps
    assert listed(again).keys() == listed(dry).keys()
    total = sum(steps.values())
    assert any(re.match(rf"{total} steps in all, about \d+:\d\d of training alone, by ", one) for one in again.out)


def test_a_single_run_is_listed_too_and_its_mistakes_are_told(tmp_path: Path, typed: Callable[..., Said]) -> None:
    said = typed(*TINY, "--dry-run")
    assert (said.code, listed(said)) == (
        0,
        {f"data.limit=300,model.depth=3,model.width=16,seed=0,{TINY[3]}": ("new", 6)},
    )
    wrong = typed(*TINY, "--dry-run", "optimizer.lr=-1")
    assert wrong == typed(*TINY, "optimizer.lr=-1")
    assert wrong.code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-m", "seed=0,1", "hydra/sweeper=basic"), "hydra/sweeper=basic: must be grid or search with --dry-run"),
        (("--cfg", "job"), "--dry-run and --cfg do not go together"),
    ],
)
def test_what_cannot_be_rehearsed_is_one_line(typed: Callable[..., Said], arguments: list[str], line: str) -> None:
    said = typed("--dry-run", *arguments)
    assert (said.code, len(said.err), line in said.err[0]) == (1, 1, True)


def test_steps_cost_what_the_runs_before_took(tmp_path: Path, typed: Callable[..., Said]) -> None:
    """12 and 24 seconds of 100 steps each: 0.18 s a step, so 1,000 steps of a single worker take 3 minutes."""
    grid = tmp_path / "outputs" / "runs"
    fanin(tmp_path, *TINY)
    (one,) = runs(grid).values()
    for seed, seconds in enumerate((12.0, 24.0)):
        result = read(one / "result.json")
        result["config"]["seed"] = seed
        place = grid / f"before{seed}"
        place.mkdir()
        (place / "result.json").write_text(json.dumps(result | {"steps": 100, "seconds": seconds}))
    (one / "result.json").unlink()
    said = typed(*TINY[:3], "trainer.steps=1000", "--dry-run")
    assert "1,000 steps in all, about 3:00 of training alone, by 2 runs before" in said.out


def test_runs_cost_the_same_where_only_numbers_differ() -> None:
    config = {"model": {"_target_": "m", "depth": 3}, "optimizer": {"_target_": "o", "lr": 0.1}, "seed": 0}
    cheap = config | {"optimizer": {"_target_": "o", "lr": 0.2}, "seed": 1, "initializer": {"_target_": "i"}}
    assert cost_key(config) == cost_key(cheap)
    assert cost_key(config) != cost_key(config | {"model": {"_target_": "m", "depth": 4}})
    assert cost_key(config) != cost_key(config | {"optimizer": {"_target_": "p", "lr": 0.1}})


def test_a_searchs_rungs_are_listed_with_the_steps_that_they_add(tmp_path: Path, typed: Callable[..., Said]) -> None:
    """Halving of 9 at two seeds, eta 3, 9 steps: 9 x 2 x 1, then 3 x 2 x 2 more, then 1 x 2 x 6 more are 42."""
    axis = ("optimizer.lr=tag(log,interval(1e-3,1))", "hydra/sweeper=search", "hydra.sweeper.trials=9")
    how = ("hydra.sweeper.budget=halving", "hydra.sweeper.seeds=2", "trainer.steps=9")
    said = typed("-m", *TINY[:3], *axis, *how, "--dry-run")
    assert (said.code, list(tmp_path.iterdir())) == (0, [])
    rungs = [tuple(map(int, line.split())) for line in said.out if re.fullmatch(r"[ \d]+", line)]
    assert rungs == [(0, 0, 9, 2, 1, 18), (0, 1, 3, 2, 3, 12), (0, 2, 1, 2, 9, 12)]
    assert any(line.startswith("42 steps in all, about ") for line in said.out)
    assert sum(bool(re.fullmatch(r"trial \d +optimizer.lr=\S+", line)) for line in said.out) == 9
