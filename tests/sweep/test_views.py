"""The words of a run on the terminal."""

from __future__ import annotations

import math

from fanin.sweep.run_view import ending, number_or_dash

RESULT = {
    "diverged": None,
    "outcome": "diverged",
    "steps": 3,
    "verdict": None,
    "init": None,
    "seconds": 1.0,
    "metrics": {},
}


def test_what_broke_is_named_once() -> None:
    for what, layer, words in (("loss", "loss", "loss"), ("activations", "linear_3", "activations of linear_3")):
        said, _ = ending(RESULT | {"diverged": {"step": 3, "what": what, "layer": layer}})
        assert said == f"diverged at step 3: {words} not finite, 1.0 s"


def test_a_number_that_is_not_there_is_a_dash() -> None:
    assert [number_or_dash(value, ".1%") for value in (0.25, math.nan, math.inf)] == ["25.0%", "-", "-"]
