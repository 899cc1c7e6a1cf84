"""Searches replayed on a table: what a search pays and sees, and what is said of several of them."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from command_line import fanin, table
from fanin.catalogue import config_folder
from fanin.search.compared import median_of
from fanin.search.replay import Course, Replay, Table, replay_of
from fanin.search.settings import DEFAULTS, Settings
from fanin.search.space import Axis
from fanin.search.study import SearchStudy

AXES = (Axis("a", "int", 0, 7), Axis("b", "choice", choices=("0", "1", "2", "3")))
STEPS = (1, 3, 9)


def made(noise: float = 0.0, seeds: int = 6) -> Table:
    """Errors that grow with the distance from (5, 2), the same order on all rungs but for the noise."""
    drawn = np.random.default_rng(3)
    courses = {}
    for place in product(range(8), range(4)):
        far = abs(place[0] - 5) + 2 * (place[1] != 2)
        for seed in range(seeds):
            values = {steps: (far + noise * float(drawn.normal())) / steps + 0.01 * far for steps in STEPS}
            courses[place, seed] = Course(values, 0.1 * far)
    return Table(AXES, courses, tuple(range(seeds)), 9)


def replay(made: Table, spend: int, repetition: int = 0, /, **given: object) -> Replay:
    return replay_of(made, Settings.of(DEFAULTS | given), spend, repetition)


def test_halving_pays_for_what_its_rungs_add_and_keeps_the_best() -> None:
    found = replay(made(), 51, budget="halving", trials=27, min_steps=1).run()
    # 27 x 1, 9 x 2 more; the last rung, 3 x 6 more, cannot be paid, but the first step of the 5 that are left can.
    assert (found.spent, found.configurations, found.steps) == (27 + 18 + 5, 32, [])
    found = replay(made(), 63, budget="halving", trials=27, min_steps=1).run()
    assert (found.spent, found.steps) == (63, [51, 57, 63])
    drawn = replay(made(), 9 * 27).run()  # the same draws, all of them trained to the end
    assert drawn.place == found.place == (5, 2)
    assert (found.value, found.tests) == (pytest.approx(0.0), [0.0])


def test_what_is_known_costs_nothing_and_the_budget_is_never_passed() -> None:
    everything = replay(made(), 10_000).run()
    assert (everything.spent, everything.configurations) == (9 * 32, 32)
    for given in ({"method": "tpe"}, {"method": "reinforce"}, {"budget": "hyperband"},
                  {"budget": "racing", "trials": 5, "seeds": 6}):  # fmt: skip
        found = replay(made(0.5), 200, **given).run()
        assert 100 < found.spent <= 200
        assert found.steps == sorted(found.steps)
        assert found.reached(-math.inf) == math.inf


def test_a_grid_is_evenly_spaced_and_fits_its_budget() -> None:
    one = replay_of(made(), None, 9 * 9, repetition=1)
    found = one.run()
    places = sorted({place for place, _ in one.trained})
    assert (found.configurations, found.spent) == (8, 72)  # 8 x 4, halved along the longest axis until 9 hold it
    rows, columns = (sorted({place[axis] for place in places}) for axis in (0, 1))
    assert (len(rows), len(columns)) == (4, 2) or (len(rows), len(columns)) == (2, 4)
    assert {tuple(np.diff(line)) for line in (rows, columns)} in ({(2, 2, 2), (2,)}, {(4,), (1, 1, 1)})


def test_a_repetition_has_its_own_seeds() -> None:
    assert made(seeds=6).seeds_from(4, 3) == [4, 5, 0]
    assert replay(made(), 90, 1).run().steps == replay(made(), 90, 2).run().steps
    assert replay(made(), 27, 1).run().best != replay(made(), 27, 2).run().best


def test_a_medians_interval_is_of_order_statistics() -> None:
    """P(x_2 <= median <= x_9) of ten is 1 - 2 (1 + 10)/2^10 = 0.979; x_3 to x_8 has 0.891 only."""
    told = median_of([*range(10, 0, -1)])
    assert (told.middle, told.low, told.high) == (5.5, 2, 9)
    assert str(median_of([1.0, 2.0])) == "1.5"
    assert median_of([0.0, math.inf, math.inf]).middle == math.inf


def test_claims_follow_what_was_found() -> None:
    study = SearchStudy({"random": {}, "halving": {"budget": "halving", "trials": 27, "min_steps": 1}}, budget=7)
    said = study.replayed(made(seeds=8))
    shares = [one.reached(other.value) / other.spent for one, other in zip(*reversed(said.found.values()), strict=True)]
    claim = study.faster(said, "halving", "")
    assert claim.holds is bool(np.median(shares) <= 0.5)
    differences = np.array(said.chosen("halving")) - said.chosen("random")
    assert study.lower(said, "halving", "").holds is bool(np.sort(differences)[-1] < 0)  # the interval of eight is all
    assert study.no_worse(said, "").evidence.startswith("halving ")
    assert study.faster(said, "tpe", "").holds is None


def test_the_first_bracket_of_the_studys_halving_costs_seven_of_sixteen_runs() -> None:
    """By the YAML's own settings, a run that goes on costing what is added: less than half, as the claim asks."""
    experiment = yaml.safe_load((config_folder() / "experiment" / "search_study.yaml").read_text())
    steps, study = experiment["trainer"]["steps"], experiment["study"]
    (bracket,) = Settings.of(DEFAULTS | study["searches"]["halving"]).brackets(steps)
    ends = [0, *(int(rung.share * steps) for rung in bracket.rungs)]
    spent = sum(rung.keep * (end - start) for rung, start, end in zip(bracket.rungs, ends, ends[1:], strict=False))
    assert Fraction(spent, steps * study["budget"]) == Fraction(7, 16)
    assert all(end % experiment["trainer"]["eval_every"] == 0 for end in ends)  # each rung is seen


@pytest.mark.slow
def test_a_study_of_searches_is_judged_from_its_runs(tmp_path: Path) -> None:
    words = ("experiment=search_study", "optimizer.lr=0.01,0.1,0.3", "initializer.c=1,4", "seed=0,1,2",
             "trainer.steps=9", "trainer.eval_every=1", "trainer.log_every=9", "data.limit=300",
             "study.budget=3", "study.halves=[]",
             "study.searches={random: {}, halving: {budget: halving, trials: 3, min_steps: 3}}")  # fmt: skip
    assert fanin(tmp_path, *words, "hydra.sweep.dir=grid").code == 0
    report = tmp_path / "grid" / "report"
    (claim,) = table(report / "claims.csv")
    assert (claim["experiment"], claim["verdict"] in ("holds", "does not hold")) == ("search_study", True)
    # A bracket is 3 configurations to 3 of 9 steps and one of them to 9, 5/3 runs; of 3 are left 4/3, the first rung of
    # another bracket: 6 configurations, 8/3 runs.
    assert "| halving | 6 | 2.67 |" in " ".join((report / "table.md").read_text().split())
    assert (report / "search_study.png").is_file()
