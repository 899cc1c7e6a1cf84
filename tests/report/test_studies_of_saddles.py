"""The claims of saddle_study, on run folders whose numbers are made up, and its theory against paths on the surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence
from fanin.report.studies.saddle import SaddleStudy
from fanin.report.studies.saddle.escape import LEFT, STRENGTHS, _noisy, steps_to_leave

Write = Callable[..., Path]


@pytest.mark.parametrize(("optimizer", "rate", "momentum", "damping"), [
    ("gd", 0.1, 0.0, 0.0), ("gd", 0.5, 0.0, 0.0), ("momentum", 0.1, 0.9, 0.0), ("momentum", 0.02, 0.5, 0.0),
    ("saddle_free_newton", 1.0, 0.0, 0.05), ("saddle_free_newton", 0.3, 0.0, 0.5),
])  # fmt: skip
@pytest.mark.parametrize("start", [1e-9, 1e-4, 0.03])
def test_paths_on_the_surface_leave_within_the_bounds(
    optimizer: str, rate: float, momentum: float, damping: float, start: float
) -> None:
    y, v, steps = start, 0.0, 0
    while y < LEFT:
        slope = y**3 - y
        pull = slope / (abs(3 * y * y - 1) + damping) if optimizer == "saddle_free_newton" else slope
        v = momentum * v - rate * pull
        y, steps = y + v, steps + 1
    slow, fast = STRENGTHS[optimizer]({"damping": damping})
    assert steps_to_leave(start, rate, momentum, fast) <= steps <= steps_to_leave(start, rate, momentum, slow)
    assert steps_to_leave(start, rate, momentum, slow) <= 1.02 * steps + 2  # the bounds say something


def test_paths_with_noise_leave_within_the_bounds_and_not_all_at_once() -> None:
    rate, variance, paths = 0.1, 1e-8, 2000
    random = np.random.default_rng(0)
    y, left = np.zeros(paths), np.full(paths, -1)
    for step in range(1, 400):
        y = y - rate * (y**3 - y + variance**0.5 * random.standard_normal(paths))
        left[(left < 0) & (np.abs(y) >= LEFT)] = step
    least, most = _noisy(rate, variance)
    # of 2000 paths 2000 (8e-5 + 7e-6) are expected outside
    assert ((left < least) | (left > most)).sum() <= 3
    assert np.median(left) == pytest.approx(
        np.log(LEFT / (0.6745 * rate * variance**0.5 / np.sqrt(1.1**2 - 1))) / np.log(1.1), abs=2
    )


def on_the_net(place: Path, write: Write, optimizer: str, seed: int, loss: float, spectrum: Sequence[float]) -> None:
    """One run on a net that ends at this loss, with this spectrum and no gradient."""
    choices: dict[str, Any] = {"optimizer": optimizer, "model": "mlp", "probe.curvature.k": 10}
    folder = write(
        place, seed=seed, depth=2, width=4, count=2, last=10, experiment="saddle_study", overrides=choices,
        metrics={"train_loss": loss},
    )  # fmt: skip
    rows = [f"10,,eigenvalue_largest,{at},{value!r}\n" for at, value in enumerate(spectrum, 1)]
    (folder / "curvature.csv").write_text(
        "step,layer,quantity,index,value\n0,,eigenvalue_largest,1,-5\n" + "".join(rows) + "10,,gradient_norm,,1e-12\n"
    )


def claims(place: Path) -> dict[str, Claim]:
    """As the report judges them, by their texts; those that can be."""
    runs = read_runs(sorted(place.iterdir()), place)
    found = SaddleStudy().claims(Evidence(runs, [], Profiles(runs), Metrics(runs)))
    return {claim.text: claim for claim in found if claim.holds is not None}


@pytest.mark.parametrize(("negative", "holds"), [((0, 1, 2, 3, 4), True), ((4, 3, 2, 1, 0), False)])
def test_the_index_has_to_rise_with_the_height(
    tmp_path: Path, write_run: Write, negative: Sequence[int], *, holds: bool
) -> None:
    for seed, count in enumerate(negative):
        spectrum = [1.0] * (6 - count) + [-1e-11] + [-0.5] * count  # 1e-11 is 0 but for rounding
        on_the_net(tmp_path, write_run, "gradient_norm", seed, 0.5 + 0.1 * seed, spectrum)
    found = claims(tmp_path)
    runs = read_runs(sorted(tmp_path.iterdir()), tmp_path)
    told = SaddleStudy().table(Evidence(runs, [], Profiles(runs), Metrics(runs)))
    assert told is not None
    assert told[1] == [["descent on |g|", "net, c=2", "", "0.5 to 0.9", "5 of 5", "0 to 57"]]
    claim = found["the higher a critical point of the net lies, the more eigenvalues are negative"]
    assert claim.holds is holds
    assert claim.evidence.endswith("over 5 critical points of 5 descents, 0 to 57.1 % negative")


@pytest.mark.parametrize(("loss", "last", "holds"), [(0.4, 0.1, True), (0.4, -0.1, False), (0.7, 0.1, False)])
def test_saddle_free_newton_has_to_end_below_the_saddles_and_at_no_saddle(
    tmp_path: Path, write_run: Write, loss: float, last: float, *, holds: bool
) -> None:
    on_the_net(tmp_path, write_run, "gradient_norm", 0, 0.6, [2.0, 1.0, -1.0])
    on_the_net(tmp_path, write_run, "gradient_norm", 1, 0.3, [2.0, 1.0, 1.0])  # a minimum
    on_the_net(tmp_path, write_run, "saddle_free_newton", 0, loss, [2.0, 1.0, last])
    ((text, claim),) = claims(tmp_path).items()
    assert ("end below every saddle" in text, claim.holds) == (True, holds)
