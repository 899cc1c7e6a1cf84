"""batch_study: larger batches over the same epochs, the linear scaling rule of the learning rate, and where it ends.

A batch k times as large has k times fewer steps in an epoch. As long as the weights move little in k small steps, these
are about one large step at k times the rate: with the linear rule the loss after the same epochs is the same. At one
rate for all batches it is the higher the larger the batch; with the square-root rule it lies between the two. The
linear rule ends where the rate comes to what the curvature allows: then training is worse or fails, and at the whole
training part the square root is the better rule.

The bounds are from a pilot on the seeds 100 to 102, the base being a batch of ten: with the linear rule the losses were
0.83 to 1.16 times the base's of the same seed up to a batch of 200, and 4.3 to 18 times at 500; at one rate they were
15 times at 200. SAME and WORSE lie half way, in logarithms, between no effect and what the rule failed by. At 500 it is
chance by how much a seed fails: of the study's own one made 1.95 times the loss and one 107 times, which is why that
claim is of the mean over seeds, and no longer of each.

Source: Goyal et al., Accurate, Large Minibatch SGD (2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import fmean

from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet, panel
from fanin.report.read.configurations import canonical
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, numbers_of, spread
from fanin.report.studies.drawing import colours_of, draw_points, entry, own_legend

HOLDS, ENDS = 20, 50
"""Times the base batch: up to the first the linear rule holds, from the second on it does not."""

SAME = WORSE = 2.0
BATCH, RULE = "trainer.batch_size", "lr_scaling"
RULES = {"linear": "linear rule", "sqrt": "square-root rule", "none": "one rate"}

Ratios = dict[float, list[float]]


def ratios_of(evidence: Evidence, rule: str) -> Ratios:
    """The training losses by batch size, each over that of the same seed with the smallest batch and the same rule."""
    by_batch: dict[float, dict[str, Run]] = {}
    for run in evidence.runs_with({RULE: rule}):
        if (batch := number(run, BATCH)) is not None:
            by_batch.setdefault(batch, {})[canonical(run.seed)] = run
    if not by_batch:
        return {}
    base = by_batch[min(by_batch)]
    return {
        batch: [_loss(run) / _loss(base[seed]) for seed, run in runs.items() if seed in base]
        for batch, runs in sorted(by_batch.items())
    }


def _loss(run: Run) -> float:
    """The final training loss; inf of a run that diverged."""
    loss = run.numbers.get("train_loss")
    return float("inf") if run.state == "diverged" or loss is None else loss


def _same(linear: Ratios) -> Claim:
    text = f"with the linear rule batches up to {HOLDS} times the smallest end with its loss, to a factor of {SAME:g}"
    found = [one for batch, ratios in linear.items() if 1 < batch / min(linear) <= HOLDS for one in ratios]
    if not found:
        return Claim.missing(text, {RULE: "linear"})
    return Claim(text, max(found) <= SAME and min(found) >= 1 / SAME, f"{spread(found)} times it")


def _ends(linear: Ratios) -> Claim:
    text = (
        f"from {ENDS} times the smallest batch on the linear rule fails: {WORSE:g} times its loss and more in the mean"
    )
    found = {batch: ratios for batch, ratios in linear.items() if ratios and batch / min(linear) >= ENDS}
    if not found:
        return Claim.missing(text, {RULE: "linear", BATCH: f"{ENDS} times the smallest"})
    told = "; ".join(f"{spread(ratios)} times it at {batch:g}" for batch, ratios in found.items())
    return Claim(text, min(map(fmean, found.values())) >= WORSE, told)


def _one_rate(none: Ratios) -> Claim:
    text = "at one rate for all batches the training loss is the higher the larger the batch"
    if len(none) < 2:
        return Claim.missing(text, {RULE: "none"})
    means = [fmean(ratios) for ratios in none.values()]
    told = ", ".join(f"x {mean:.3g}" for mean in means)
    return Claim(text, all(two > one for one, two in pairwise(means)), f"{told} in the mean over seeds")


def _between(found: Mapping[str, Ratios]) -> Claim:
    text = f"up to {HOLDS} times the smallest batch the square-root rule lies between the linear one and one rate"
    shared = found["linear"].keys() & found["sqrt"].keys() & found["none"].keys()
    batches = [batch for batch in sorted(shared) if 1 < batch / min(shared) <= HOLDS]
    if not batches:
        return Claim.missing(text, *({RULE: rule} for rule in RULES))
    means = [[fmean(found[rule][batch]) for rule in RULES] for batch in batches]
    told = ", ".join(f"x {root:.3g} at {batch:g}" for batch, (_, root, _) in zip(batches, means, strict=True))
    return Claim(text, all(linear < root < one for linear, root, one in means), told)


def _whole(found: Mapping[str, Ratios]) -> Claim:
    text = "with the largest batch the square-root rule ends lowest of the three"
    shared = found["linear"].keys() & found["sqrt"].keys() & found["none"].keys()
    if len(shared) < 2 or max(shared) / min(shared) < ENDS:
        return Claim.missing(text, *({RULE: rule, BATCH: f"{ENDS} times the smallest"} for rule in RULES))
    linear, root, none = (fmean(found[rule][max(shared)]) for rule in RULES)
    return Claim(text, root < min(linear, none), f"x {root:.3g}, linear x {linear:.3g}, one rate x {none:.3g}")


class BatchStudy(Study):
    """The linear scaling rule of the learning rate over batch sizes, and where it ends."""

    caption = "A dot for each seed, lines through their means; the epochs are the same for all."
    columns = (column("train_loss"), column("train_error"), column("test_error"))
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Where the linear rule holds and ends; one rate; the square root."""
        found = {rule: ratios_of(evidence, rule) for rule in RULES}
        yield _same(found["linear"])
        yield _ends(found["linear"])
        yield _one_rate(found["none"])
        yield from (claim(found) for claim in (_between, _whole))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Training loss and test error over the batch size, for each rule."""
        colours = colours_of(list(RULES))
        made, both = sheet.figure(1, 2, 8.4, 3.8)
        for axes, name, scale in zip(both, ("train_loss", "test_error"), (1, 100), strict=True):
            for rule in RULES:
                points = [
                    (batch, scale * value)
                    for run in evidence.runs_with({RULE: rule})
                    if (batch := number(run, BATCH)) is not None
                    for value in numbers_of([run], name)
                ]
                draw_points(axes, points, colours[rule])
            axes.set_xscale("log")
            axes.set_yscale("log")
        panel(both[0], "a", "training loss", "batch size")
        panel(both[1], "b", "test error in %", "batch size")
        own_legend(sheet, made, both, [entry(RULES[rule], colour) for rule, colour in colours.items()])
        return made
