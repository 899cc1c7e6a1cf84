"""minima_study: where different seeds end, what is between them, and whether they err alike.

Each seed ends near its own start, and far from where all others end: there are many minima, with a barrier between any
two. They are no better and no worse than each other: the number of test errors varies over seeds no more than chance
would have it, which draws the test examples. The wider the layers, the shorter the way from a start to its minimum,
measured by the distance between minima.

That test errors are alike is asked by a chi-square test. With the true error p of all S networks and n test examples,
$X = (S - 1) s^2 / (p (1 - p)/n)$ is about chi-square distributed with S - 1 degrees of freedom, s^2 the variance of
the errors; all seeds are tested on the same examples, which makes it smaller. It is to stay below the quantile LEVEL.

The other claims are comparisons without a bound. In a pilot on the seeds 100 to 102 a run's way was 0.26 to 0.48
of the distance from its end to another seed's start or end.

Source: Fort, Hu & Lakshminarayanan, Deep Ensembles: A Loss Landscape Perspective (2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean, variance

from matplotlib.figure import Figure
from scipy.stats import chi2

from fanin.record.landscape_files import Asked
from fanin.record.overrides import display
from fanin.report.figures.landscape import line_panel
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, numbers_of, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend
from fanin.report.studies.lines import Apart, apart, lines_of, nearer_to_own_start, seeds_of

LEVEL = 0.999
POINTS = 11
WIDTH = "model.width"


def _width(run: Run) -> float:
    return number(run, WIDTH) or 0.0


def _separate(pairs: Sequence[Apart]) -> Claim:
    text = "between any two seeds the training loss rises above both"
    if not pairs:
        return Claim.missing(text, "two seeds")
    heights = [pair.line.loss[0].max() - max(pair.line.loss[0][[0, -1]]) for pair in pairs]
    return Claim(text, min(heights) > 0, f"by {spread(heights)}")


def chi_square(errors: Sequence[float], examples: int) -> float:
    """$(S - 1) s^2 / (p (1 - p)/n)$ of the errors of S networks on n examples, p their mean.

    >>> round(chi_square([0.1, 0.2], 100), 4)
    3.9216
    """
    mean = fmean(errors)
    chance = mean * (1 - mean) / examples
    return (len(errors) - 1) * variance(errors) / chance if chance else 0.0


def _alike(runs: Sequence[Run]) -> Claim:
    text = "the test errors of the seeds differ by no more than the chance that draws test examples"
    cases = [group for group in seeds_of(runs) if len(group) > 1 and _examples(group)]
    if not cases:
        return Claim.missing(text, "two seeds")
    shares = []
    for group in cases:
        errors = numbers_of(group, "test_error")
        shares.append(chi_square(errors, _examples(group)) / float(chi2.ppf(LEVEL, len(errors) - 1)))
    ends = [spread(numbers_of(group, "test_error"), 2, percent=True) for group in cases]
    return Claim(text, max(shares) < 1, f"{spread(shares, 2)} of chi-square's {LEVEL:.1%} quantile; {'; '.join(ends)}")


def _examples(group: Sequence[Run]) -> int:
    """Of the test part, by the table of its classes; 0 where no file tells."""
    counts = group[0].evaluation().get("confusion")
    return sum(map(sum, counts)) if isinstance(counts, list) else 0


def _wider(pairs: Sequence[Apart]) -> Claim:
    text = "the wider the layers, the shorter the way from start to end, of the distance between ends"
    by_width: dict[float, list[float]] = {}
    for pair in pairs:
        by_width.setdefault(_width(pair.first), []).append(fmean(pair.own) / pair.ends)
    if len(by_width) < 2:
        return Claim.missing(text, "two widths")
    means = {width: fmean(shares) for width, shares in sorted(by_width.items())}
    falls = all(two < one for one, two in pairwise(means.values()))
    return Claim(text, falls, ", ".join(f"{mean:.3g} at {width:g}" for width, mean in means.items()))


class MinimaStudy(Study):
    """The minima that different seeds end in: distances, what is between them, and their test errors."""

    caption = (
        "A dot for each two seeds (a) and for each seed (c), lines through their means; b one line for each two seeds. "
        "Shaded: two standard deviations of the chance that draws test examples."
    )
    columns = (column("train_loss"), column("test_error"))
    profiles = False

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The line between the ends of every two seeds."""
        return [asked for _, _, asked in lines_of(runs, POINTS)]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Far apart, each near its start, separated, and alike in what they do."""
        pairs = apart(evidence, POINTS)
        yield from (claim(pairs) for claim in (nearer_to_own_start, _separate))
        yield _alike([run for run in evidence.runs_with({}) if run.state == "done"])
        yield _wider(pairs)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Distances over width, the loss between two seeds, and test errors."""
        pairs = apart(evidence, POINTS)
        if not pairs:
            return None
        widths = sorted({_width(pair.first) for pair in pairs})
        colours = colours_of(widths)
        made, (left, middle, right) = sheet.figure(1, 3, 10.6, 3.8)
        own = [(_width(pair.first), share / pair.ends) for pair in pairs for share in pair.own]
        across = [(_width(pair.first), share / pair.ends) for pair in pairs for share in pair.across]
        left.axhline(1, color="0.5", lw=1)
        draw_points(left, own, "black")
        draw_points(left, across, "black", ls=DASHES)
        left.set_ylim(bottom=0)
        for pair in pairs:
            line_panel(middle, pair.line, colour=colours[_width(pair.first)])
        for group in seeds_of([run for run in evidence.runs_with({}) if run.state == "done"]):
            width, errors = _width(group[0]), numbers_of(group, "test_error")
            draw_points(right, [(width, 100 * error) for error in errors], colours[width])
            if n := _examples(group):
                mean = fmean(errors)
                chance = 2 * (mean * (1 - mean) / n) ** 0.5
                right.fill_between([width / 1.2, 1.2 * width], 100 * (mean - chance), 100 * (mean + chance),
                                   color=colours[width], alpha=0.15, lw=0)  # fmt: skip
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(widths, [f"{width:g}" for width in widths])
        panel(left, "a", "distance from a start, of that between ends", "width of the hidden layers")
        panel(middle, "b", "training loss between two seeds", "from the first to the second")
        panel(right, "c", "test error in %", "width of the hidden layers")
        handles = [entry(f"width {display(width)}", colour) for width, colour in colours.items()]
        handles += [entry("to its own end", "black"), entry("to another seed's end", "black", ls=DASHES)]
        own_legend(sheet, made, [left, middle, right], handles)
        return made
