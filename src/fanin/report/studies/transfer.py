"""transfer_study: networks that start from another's weights, frozen or trained on, over the number of examples.

The target, five of the digits, is learned from scratch, and from weights of a source with a last layer drawn anew: with
the other layers frozen, or all of them trained on (fine-tuned). A near source was trained on all ten digits, the
target's among them; a far one on the other five.

What tells the target's digits apart is what a source can give. Frozen layers of the near one err less than networks
from scratch as long as examples are few. The far one gives nothing: fine-tuned networks err as those from scratch do,
and frozen layers are a burden that grows with the examples, for they cannot fit them. With many examples no start errs
less than from scratch. Yosinski and others find gains between halves of ImageNet, and that frozen layers cost the more
the further apart the tasks are; strokes of 8 x 8 pixels are learned from a few examples as well.

The bounds are from pilots on the seeds 100 to 102, with 20 to 700 examples. Frozen layers of the near source made 0.60
and 0.80 times the errors of networks from scratch with 20 and 80 examples, in the means over seeds, and LEFT lies half
way, in logarithms, between no effect and the least. With 160 and 700 all other starts had 0.4 to 1.1 points more errors
than from scratch, and POINT is allowed. Fine-tuned from the far source and from scratch lay 1.8 points apart at most,
and SAME is about twice that. Frozen layers of the far source made 2.5 to 9 times the errors with 160 examples and more,
and WORSE lies half way, in logarithms, between no effect and the least.

Source: Yosinski, Clune, Bengio & Lipson, How transferable are features in deep neural networks? (2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from fanin.errors import OptionError
from fanin.record.asked_runs import AskedRun, quoted
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.configurations import canonical
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, number, numbers_of, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend

CLASSES, LIMIT = "data.classes", "data.limit"
SCRATCH, NEAR, FAR = "scratch", "near", "far"
STARTS = (SCRATCH, NEAR, FAR)

FEW, LEFT = 80, 0.89
"""Examples up to which frozen layers of the near source make so many times the errors from scratch, at most."""

MANY, WORSE = 160, 1.58
"""Examples from which on frozen layers of the far source make so many times the errors, at least."""

POINT, SAME = 0.01, 0.034
"""Of the test errors: what a start may gain with MANY examples, and what fine-tuning from the far source changes."""

Arm = tuple[str, bool]
"""Where the weights at the start come from, and whether all but the head are frozen."""

ARMS: tuple[Arm, ...] = ((SCRATCH, False), (NEAR, True), (NEAR, False), (FAR, True), (FAR, False))
Arms = dict[float, dict[Arm, list[Run]]]


def words(arm: Arm) -> str:
    """What table and figure call it."""
    start, frozen = arm
    return start if start == SCRATCH else f"{'frozen' if frozen else 'fine-tuned'}, {start}"


def error_of(runs: Sequence[Run]) -> float:
    """The mean test error of runs; nan where none has one."""
    return fmean(numbers_of(runs, "test_error") or [float("nan")])


def _ratios(arms: Arms, arm: Arm) -> list[float]:
    """Of the mean test errors of a start and from scratch, by number of examples."""
    return [error_of(by_arm[arm]) / max(error_of(by_arm[SCRATCH, False]), 1e-12) for by_arm in arms.values()]


def _gains(arms: Arms) -> Claim:
    text = (
        f"with {FEW} examples or fewer frozen layers that know the target's classes make {LEFT:g} times the errors or "
    )
    text += "fewer"
    found = _ratios({n: by_arm for n, by_arm in arms.items() if n <= FEW}, (NEAR, True))
    if not found:
        return Claim.missing(text, f"{FEW} examples or fewer")
    return Claim(text, max(found) <= LEFT, f"{spread(found, 2)} times those from scratch, in the means over seeds")


def _none(arms: Arms) -> Claim:
    text = f"with {MANY} examples or more no start errs less than from scratch, to a point in the mean"
    gains = [error_of(by_arm[SCRATCH, False]) - error_of(by_arm[arm])
             for n, by_arm in arms.items() if n >= MANY for arm in ARMS[1:]]  # fmt: skip
    if not gains:
        return Claim.missing(text, f"{MANY} examples or more")
    return Claim(text, max(gains) <= POINT, f"{spread([100 * gain for gain in gains], 2)} points fewer errors")


def _same(arms: Arms) -> Claim:
    text = f"fine-tuned from other classes, networks err as from scratch, to {100 * SAME:.2g} points in the mean"
    if not arms:
        return Claim.missing(text, *map(words, ARMS))
    gaps = {n: error_of(by_arm[FAR, False]) - error_of(by_arm[SCRATCH, False]) for n, by_arm in arms.items()}
    told = ", ".join(f"{100 * gap:+.2g} at {n:g}" for n, gap in gaps.items())
    return Claim(text, max(map(abs, gaps.values())) <= SAME, f"points more errors: {told}")


def _burden(arms: Arms) -> Claim:
    text = f"with {MANY} examples or more frozen layers of other classes make {WORSE:g} times the errors and more"
    found = _ratios({n: by_arm for n, by_arm in arms.items() if n >= MANY}, (FAR, True))
    if not found:
        return Claim.missing(text, f"{MANY} examples or more")
    return Claim(text, min(found) >= WORSE, f"{spread(found, 2)} times those from scratch, in the means over seeds")


def _fits(arms: Arms) -> Claim:
    text = "with frozen layers the training loss ends higher than with all trained on, at any number of examples"
    if not arms:
        return Claim.missing(text, *map(words, ARMS))
    ends = {
        start: [
            [numbers_of(by_arm[start, frozen], "train_loss") for frozen in (True, False)] for by_arm in arms.values()
        ]
        for start in (NEAR, FAR)
    }
    least = {start: [min(frozen) / max(tuned) for frozen, tuned in found] for start, found in ends.items()}
    told = ", ".join(f"{spread(found, 2)} from the {start} source" for start, found in least.items())
    return Claim(
        text, min(map(min, least.values())) > 1, f"the lowest of frozen over the highest of fine-tuned: {told}"
    )


class TransferStudy(Study):
    """From scratch, frozen and fine-tuned, from sources near and far, over the number of examples.

    Args:
        target: `data.classes` of the runs that are compared; runs of other classes are sources, whose weights they
            start from: near ones, which were trained on the target's classes among others, and far ones.
        head: patterns of the parameters that are drawn anew, and trained even where the rest is frozen.

    Raises:
        OptionError: no list of classes, or of patterns.
    """

    caption = (
        "A dot for each seed, lines through their means: test errors on the target's classes. Near: the source was "
        "trained on these classes among others; far: on others alone."
    )
    profiles = False

    def __init__(self, target: Sequence[int] = (5, 6, 7, 8, 9), head: Sequence[str] = ("linear_3*",)) -> None:
        for name, value, kind in (("study.target", target, int), ("study.head", head, str)):
            if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, kind) for v in value):
                raise OptionError(name, value, f"a list of {'classes' if kind is int else 'patterns'}")
        self.target, self.head = list(target), list(head)

    def _kind(self, run: Run) -> str:
        """Of a source: near or far; of a run of the target: from scratch, whatever it started from."""
        classes = run.value(CLASSES)
        if classes is not None and list(classes) == self.target:
            return SCRATCH
        return NEAR if classes is None or set(self.target) <= set(classes) else FAR

    def arms(self, evidence: Evidence) -> Arms:
        """The runs of the target by number of examples, and by how they started."""
        ended = evidence.runs_with({})
        kinds = {run.folder.name: self._kind(run) for run in ended}
        found: Arms = {}
        for run in ended:
            if self._kind(run) == SCRATCH and (examples := number(run, LIMIT)) is not None:
                path = run.value("initializer.path")
                start = SCRATCH if path is None else kinds.get(Path(str(path)).name, "")
                arm = (start, bool(run.value("initializer.freeze")))
                found.setdefault(examples, {}).setdefault(arm, []).append(run)
        return {examples: found[examples] for examples in sorted(found) if found[examples].keys() >= set(ARMS)}

    def followers(self, runs: Sequence[Run]) -> Iterable[AskedRun]:
        """Each run of the target again from each of its seed's sources, with frozen layers and fine-tuned."""
        head = f"[{','.join(repr(pattern) for pattern in self.head)}]"
        for run in runs:
            for source in runs:
                if self._kind(run) == SCRATCH != self._kind(source) and canonical(run.seed) == canonical(source.seed):
                    path = f"initializer.path={quoted(source.folder)}"
                    tuned = ("initializer=pretrained", path, f"initializer.exclude={head}")
                    yield AskedRun(run.folder, (*tuned, 'initializer.freeze=["*"]'))
                    yield AskedRun(run.folder, tuned)

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """What a near source gives, and with many examples none does; what a far one does not; what cannot fit."""
        arms = self.arms(evidence)
        yield from (claim(arms) for claim in (_gains, _none, _same, _burden, _fits))

    def table(self, evidence: Evidence) -> tuple[Sequence[str], Sequence[Sequence[str]]] | None:
        """Test errors by number of examples and start."""
        arms = self.arms(evidence)
        rows = [[f"{n:g}", *(spread(numbers_of(by_arm[arm], "test_error"), 3, percent=True) for arm in ARMS)]
                for n, by_arm in arms.items()]  # fmt: skip
        return (["examples", *map(words, ARMS)], rows) if rows else None

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Test errors over the number of examples; dashed where layers are frozen."""
        arms = self.arms(evidence)
        if not arms:
            return None
        colours = colours_of(STARTS)
        made, (axes,) = sheet.figure(1, 1, 5.8, 4)
        for start, frozen in ARMS:
            points = [
                (n, 100 * e) for n, by_arm in arms.items() for e in numbers_of(by_arm[start, frozen], "test_error")
            ]
            draw_points(axes, points, colours[start], ls=DASHES if frozen else "-")
        axes.set_xscale("log")
        axes.set_xticks(list(arms), [f"{n:g}" for n in arms])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        panel(axes, "a", "test error in %", "training examples of the target")
        handles = [entry(words((s, frozen)), colours[s], ls=DASHES if frozen else "-") for s, frozen in ARMS]
        own_legend(sheet, made, [axes], handles)
        return made
