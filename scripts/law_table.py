"""docs/law_table.md: which law holds to what accuracy, from the runs of law_study.

fanin experiment=law_study hydra/launcher=auto seed='range(0,64)'
python scripts/law_table.py outputs/law_study > docs/law_table.md
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import Run, find_runs, read_runs
from fanin.report.read.series import Profiles
from fanin.report.studies.law import QUANTITIES, Fit, fits

HEAD = """# Which law holds to what accuracy

Fresh draws of each recipe against the band that theory draws behind their norms: `fanin experiment=law_study`, of which
this page is made (`scripts/law_table.py`): 10 layers of 100 units, weights of variance 1.5/n. A row is all activations,
initializers and bias variances together; z is (ln norm² - law's mean)/law's deviation, layer by layer.

- *passes*: configurations whose mean and variance of z, coverage and Kolmogorov-Smirnov distance are within four
  standard errors (of the distance: 1 in 10,000) at every layer
- *inside*: draws in the 16-84 % band; 68 % is right, more says that the band is too wide, less that it is too narrow
- *means within*: the largest factor, over configurations and layers, between the draws' geometric mean and the law's,
  chance included
"""

COLUMNS = (
    "model", "normalization", "batch", "norms", "source", "passes", "inside", "mean of z", "variance of z",
    "means within",
)  # fmt: skip


def main() -> None:
    """Print the page."""
    print(HEAD)
    for place in sys.argv[1:]:
        _print(Path(place).resolve())


def _print(grid: Path) -> None:
    """The table of one grid."""
    runs = read_runs(find_runs([grid]), grid)
    configurations = group_runs(runs)
    rows: dict[tuple[str, ...], list[Fit]] = {}
    for one, fit in _fits(runs):
        rows.setdefault((*_kind(one), QUANTITIES[fit.quantity], fit.source), []).append(fit)
    seeds = max(len(one.members) for one in configurations)
    options = {key: sorted({str(run.config.option(key)) for run in runs}) for key in ("activation", "initializer")}
    print(f"{seeds} seeds; " + "; ".join(f"{key}: {', '.join(values)}" for key, values in options.items()) + ".\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * len(COLUMNS)}")
    for key, found in sorted(rows.items()):
        inside, mean, variance = (_mean(found, name) for name in ("covered", "mean", "variance"))
        factor = math.exp(max(float(np.abs(fit.gap).max()) for fit in found) / 2)
        passes = f"{sum(fit.passes for fit in found)} of {len(found)}"
        numbers = f"{passes} | {100 * inside:.0f} % | {mean:+.2f} | {variance:.2f} | {factor:.3g}"
        print(f"| {' | '.join(key)} | {numbers} |")
    print()


def _fits(runs: list[Run]) -> list[tuple[Run, Fit]]:
    found = []
    for one in group_runs(runs):
        members = [runs[position] for position in one.members]
        alone = [type(one)(one.experiment, {}, list(range(len(members))), label=one.label)]
        found += [(members[0], fit) for fit in fits(Profiles(members), alone, members)]
    return found


def _mean(found: list[Fit], name: str) -> float:
    return float(np.concatenate([getattr(fit, name) for fit in found]).mean())


def _kind(run: Run) -> tuple[str, str, str]:
    return str(run.config.option("model")), str(run.config.option("normalization")), str(run.value("probe.batch_size"))


if __name__ == "__main__":
    main()
