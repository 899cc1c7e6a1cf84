"""finite_width_study: how far freshly drawn nets of one recipe lie apart, for widths that differ from layer to layer.

Layer l maps $m_(l-1) = ||x_(l-1)||^2/n_(l-1)$ to m_l, whose logarithm varies by $Var xi_l$ about its mean: for
independent normal weights $(E phi^4/(E phi^2)^2 - 1)/n_l$, $5/n_l$ for ReLU. How much of an earlier change is left is
$a = chi_par$:

$Var ln m_l = a^2 Var ln m_(l-1) + Var xi_l$

ReLU keeps all of it (a = 1), so that only the sum of $1/n_l$ counts and not the order of the widths; tanh at its edge
of chaos forgets, and its variance is that of the last few layers. Orthogonal weights keep $||z|| = ||x||$ up to what a
narrower layer leaves out, which takes $2 a^2/max(n_(l-1), n_l)$ away. These are first orders in 1/n; for ReLU with
normal weights the steps' variances are exact. Sample variances of R seeds have a standard error of $sqrt(2/R)$ of
themselves; a mean of K of them is held to four of $sqrt(2/(R K))$, and where the law is of first order narrow layers'
next order, of about $4/n_l$ of a step, is allowed beside that.

Source: Hanin & Rolnick, How to start training (2018); Hanin & Nica (2019); orthogonal weights: derived here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from fanin.report.figures.style import GREY, Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, colours_of, entry, own_legend
from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import fixed_point
from fanin.theory.ratio import log_ratio_moments

MAPS = {
    "relu": Activation(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(float)),
    "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}
"""The activations whose variances have a law here."""

SIGMAS = 4
NEXT = 4.0  # over n: the share of a step that the next order may add
FIRST = 4  # layers left out where single layers are judged: lengths settle in them
LEAST = 16  # seeds


class Shape(NamedTuple):
    """The hidden widths of a net."""

    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """Uniform, pyramid (never wider again), or bottleneck."""
        if len(set(self.widths)) == 1:
            return f"uniform, {self.widths[0]}"
        falls = all(one >= two for one, two in pairwise(self.widths))
        return f"{'pyramid' if falls else 'bottleneck'}, {self.widths[0]} to {min(self.widths)}"

    @property
    def sum(self) -> float:
        """Of 1/n_l."""
        return sum(1 / width for width in self.widths)


class Group(NamedTuple):
    """Runs that differ in their seeds alone.

    Attributes:
        activation, initializer: options.
        shape: of the net.
        run: one of the runs.
        logs: ln ||x_l||^2 of each run, of its input and its hidden layers, [R, 1 + L].
    """

    activation: str
    initializer: str
    shape: Shape
    run: Run
    logs: Floats

    def variances(self, left: float) -> Floats:
        """Over the runs, [L], of what is not the input's doing: a layer leaves `left` of a change."""
        share = left ** np.arange(1, self.logs.shape[1])
        return np.asarray((self.logs[:, 1:] - share * self.logs[:, :1]).var(axis=0, ddof=1))

    @property
    def error(self) -> float:
        """The share of a variance that one standard error of it is."""
        return math.sqrt(2 / (len(self.logs) - 1))


def groups(evidence: Evidence) -> list[Group]:
    """The groups of the grid with enough seeds."""
    found = []
    for one in evidence.configurations:
        runs = [evidence.runs[i] for i in one.members if evidence.runs[i].state == "done"]
        logs = [log for log in (_logs(evidence, run) for run in runs) if log is not None]
        if len(logs) >= LEAST and len({len(log) for log in logs}) == 1:
            shape = Shape(_widths(runs[0], len(logs[0]) - 1))
            activation, initializer = (str(runs[0].config.option(group)) for group in ("activation", "initializer"))
            found.append(Group(activation, initializer, shape, runs[0], np.array(logs)))
    return found


def _logs(evidence: Evidence, run: Run) -> Floats | None:
    norms = evidence.profile(run, "init", "weight", "activation_norm")[:-1]
    first = evidence.profile(run, "init", "module", "activation_norm")[:1]
    if len(norms) < 2 or not len(first) or not (np.isfinite(norms) & (norms > 0)).all() or not first[0] > 0:
        return None
    return np.asarray(2 * np.log(np.concatenate([first, norms])))


def _widths(run: Run, layers: int) -> tuple[int, ...]:
    said: Any = run.value("model.width")
    return tuple(said) if isinstance(said, (list, tuple)) else (int(said),) * layers


class Law(NamedTuple):
    """What theory says of a group's variances, for each hidden layer [L].

    Attributes:
        left: a, the share of a change that the next layer keeps.
        steps: Var xi_l.
        total: Var ln m_l.
        beyond: the share of a step that the next order of 1/n may add; 0 where the steps are exact.
    """

    left: float
    steps: Floats
    total: Floats
    beyond: Floats


def law(group: Group) -> Law | None:
    """The law of a group; None where there is none."""
    phi = MAPS.get(group.activation)
    normal = group.initializer == "variance_scaling"
    scale = number(group.run, "initializer.c") if normal else number(group.run, "initializer.gain")
    if phi is None or scale is None or group.initializer not in ("variance_scaling", "orthogonal"):
        return None
    point = fixed_point(phi, scale if normal else scale**2, number(group.run, "initializer.bias_variance") or 0.0)
    q = min(max(point.q, 1e-6), 1e6)
    share = phi.fourth_moment(q) / phi.mean_square(q) ** 2 - 1
    exact = normal and group.activation == "relu"
    kept = 0.0 if normal else 2 * point.chi_par**2
    widths = np.array(group.shape.widths, float)
    before = np.array([number(group.run, "data.features") or math.inf, *widths[:-1]])
    steps = share / widths - kept / np.maximum(before, widths)
    if exact:
        steps = np.array([log_ratio_moments(int(width), int(width), scale).variance for width in widths])
    total = [0.0]
    for step in steps:
        total.append(point.chi_par**2 * total[-1] + float(step))
    return Law(point.chi_par, steps, np.array(total[1:]), np.zeros(len(widths)) if exact else NEXT / widths)


def _steps(group: Group, known: Law) -> Floats:
    """What each layer was measured to add, Var(ln m_l - a ln m_(l-1)), as a share of Var xi_l, [L - FIRST]."""
    own = group.logs[:, 1:] - known.left * group.logs[:, :-1]
    return np.asarray((own.var(axis=0, ddof=1) / known.steps)[FIRST:])


def _follows(found: Sequence[Group], activation: str, initializer: str) -> Claim:
    words = "adds up over all layers" if activation == "relu" else "is that of the last layers"
    text = f"{activation}, {_called(initializer)} weights: the variance of ln ||x_L||^2 {words}"
    own = [(one, known) for one in found if (one.activation, one.initializer) == (activation, initializer)
           if (known := law(one)) is not None]  # fmt: skip
    if not own:
        return Claim.missing(text, f"activation={activation} initializer={initializer} with {LEAST} seeds")
    error = max(group.error for group, _ in own)
    steps = np.concatenate([_steps(group, known) for group, known in own])
    beyond = float(np.mean([known.beyond[FIRST:].mean() for _, known in own]))
    totals = [float(group.variances(known.left)[-1] / known.total[-1]) for group, known in own]
    allowed = SIGMAS * error / math.sqrt(len(steps)) + beyond, SIGMAS * error / math.sqrt(len(totals)) + beyond
    gaps = abs(float(steps.mean()) - 1), abs(sum(totals) / len(totals) - 1)
    told = (
        f"a layer adds {steps.mean():.3g} ± {allowed[0]:.2g} of what theory says, "
        f"all of them {sum(totals) / len(totals):.3g} ± {allowed[1]:.2g}; "
        + ", ".join(
            f"{group.shape.name}: {group.variances(known.left)[-1]:.3g} ({known.total[-1]:.3g})" for group, known in own
        )
    )
    return Claim(text, gaps[0] < allowed[0] and gaps[1] < allowed[1], told)


def _called(initializer: str) -> str:
    return "normal" if initializer == "variance_scaling" else initializer


def _order(found: Sequence[Group], activation: str) -> Claim:
    text = f"{activation}: orthogonal weights leave less to chance than normal ones, in every shape"
    own = {(one.initializer, one.shape): one for one in found if one.activation == activation}
    pairs = [(one, own["variance_scaling", shape]) for (initializer, shape), one in own.items()
             if initializer == "orthogonal" and ("variance_scaling", shape) in own]  # fmt: skip
    known = [(one, two, law(two)) for one, two in pairs]
    ratios = [
        float(_steps(one, normal).mean() / _steps(two, normal).mean())
        for one, two, normal in known
        if normal is not None
    ]
    if not ratios:
        return Claim.missing(text, f"activation={activation} with both weights and the same widths")
    return Claim(text, max(ratios) < 1, f"what a layer adds, orthogonal over normal: {spread(ratios, 2)}")


def finite_width_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Var ln ||x_L||^2 against the sum of 1/n_l, and over depth for each activation, with the laws."""
    found = groups(evidence)
    kinds = list(dict.fromkeys((one.activation, one.initializer) for one in found))
    if not found:
        return None
    colours = colours_of(kinds)
    shapes = sorted({one.shape for one in found}, key=lambda shape: shape.sum)
    marks = dict(zip(shapes, "o^sDvP" * (1 + len(shapes) // 6), strict=False))
    shown = list(dict.fromkeys(one.activation for one in found))[:2]
    made, axes = sheet.figure(1, 1 + len(shown), 4.5 + 4.4 * len(shown), 4.5)
    for group in found:
        colour = colours[group.activation, group.initializer]
        known = law(group)
        variances = group.variances(1.0 if known is None else known.left)
        final = float(variances[-1])
        mark, error = marks[group.shape], 2 * group.error * final
        axes[0].errorbar(group.shape.sum, final, error, color=colour, marker=mark, ms=5, lw=1, ls="")
        place = axes[1 + shown.index(group.activation)] if group.activation in shown else None
        layers = np.arange(1, group.logs.shape[1])
        if place is not None:
            place.plot(layers, variances, marker=mark, ms=3.5, lw=1.2, color=colour, alpha=0.8)
        if place is not None and known is not None:
            place.plot(layers, known.total, color=colour, lw=1.1, ls=DASHES)
    for kind in kinds:
        ends = sorted((one.shape.sum, float(known.total[-1])) for one in found
                      if (one.activation, one.initializer) == kind and (known := law(one)) is not None)  # fmt: skip
        axes[0].plot(*zip(*ends, strict=True), color=colours[kind], lw=1.1, ls=DASHES, zorder=2) if ends else None
    axes[0].set_xlim(left=0)
    axes[0].set_ylim(bottom=0)
    panel(axes[0], "a", "Var ln ‖x‖² of the last hidden layer", "sum of 1/n over the hidden layers")
    for letter, place, name in zip("bc", axes[1:], shown, strict=False):
        place.set_ylim(bottom=0)
        panel(place, letter, f"Var ln ‖x‖², {name}", "weight layer")
    handles = [
        entry(f"{one}, {'normal' if two == 'variance_scaling' else two}", colours[one, two]) for one, two in kinds
    ]
    handles += [entry(shape.name, GREY, lw=0, marker=marks[shape], ms=5) for shape in shapes]
    handles.append(entry("theory", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, handles)
    return made


class FiniteWidthStudy(Study):
    """How far draws lie apart, against widths that differ from layer to layer."""

    caption = (
        "The variance over seeds of ln ‖x‖² of one example, with two standard errors. Dashed: theory, of first order "
        "in 1/n for tanh and for orthogonal weights."
    )
    columns = (
        column("factor_per_layer"),
        column("activation_last"),
        column("gradient_first"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """The variance of each activation and initializer against its law, and orthogonal weights against normal."""
        found = groups(evidence)
        for activation in ("relu", "tanh"):
            for initializer in ("variance_scaling", "orthogonal"):
                yield _follows(found, activation, initializer)
        yield from (_order(found, activation) for activation in ("relu", "tanh"))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See finite_width_figure."""
        return finite_width_figure(sheet, evidence)
