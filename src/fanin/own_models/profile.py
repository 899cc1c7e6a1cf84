"""fanin.profile: one look at a fresh model, without training it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin.own_models.advice import advise
from fanin.own_models.expected_norms import ExpectedNorms, batch_of
from fanin.own_models.fresh_draws import Redraw
from fanin.own_models.layer_states import LayerState, layer_states, rms
from fanin.own_models.patterns import chosen_modules
from fanin.own_models.probe_pass import Loss, ProbePass
from fanin.own_models.profile_figure import profile_panel
from fanin.own_models.profile_found import Found
from fanin.own_models.profile_told import html_of, lines_of
from fanin.own_models.rules import Rules
from fanin.own_models.trial import with_trial
from fanin.own_models.unwrapped import checked
from fanin.own_models.whole_look import observer_of, whole_look
from fanin.probes.capture import Capture
from fanin.probes.probe import Probe, measure_profile
from fanin.probes.quantities import Measures
from fanin.record.columns import PROFILES, TEXT, names
from fanin.run.theory_overlay import Overlay

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fanin.record.recorder import ProfileRow


class Profile(Found):
    """What `fanin.profile` has found: `Found`'s table, verdict and advice, told and drawn."""

    def plot(self, axes: Axes | None = None, quantity: str = "activation_norm") -> Axes:
        """A quantity over the weight layers, with the band of fresh draws behind it.

        Args:
            axes: to draw on; None for new ones of pyplot.
            quantity: activation_norm, gradient_norm or another positive one of the table.

        Raises:
            UserError: the table has no such quantity.
        """
        return profile_panel(self.table, quantity, axes)

    def __str__(self) -> str:
        return "\n".join(lines_of(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_of(self)


def profile(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    redraws: int = 64,
    *,
    redraw: Redraw | None = None,
    rules: Rules | None = None,
    band: str = "auto",
    modules: str | Sequence[str] = "*",
    measures: Measures | None = None,
    autocast: torch.dtype | None = None,
    seed: int = 0,
) -> Profile:
    """Look once at a fresh model: norms of outputs and gradients over depth, and what a fresh draw would show.

    The model is left as it was, to the bit: modes, gradients, running statistics, random streams. The band behind a
    norm is that of theory, as far as every part of the model has a rule and its weights follow a known law; else that
    of fresh draws of the model; else there is none, and `no_law` and `no_redraw` say why.

    Args:
        model: a network; within nn.DataParallel, DistributedDataParallel or torch.compile, too.
        inputs: a batch: a tensor, a tuple of positional or a mapping of named arguments of the model.
        targets: beside them.
        loss: (outputs, targets) -> a number, or (outputs) without targets; by default what the model returns as its
            loss. Without one there are no gradients.
        redraws: how many fresh draws make a band, 8 or more; 0 for none. Each takes a pass of the batch.
        redraw: how the model is drawn: a function that draws the model it is given, or one without arguments that makes
            a new model. None for the modules' own `reset_parameters`.
        rules: what the weights are drawn from, as `fanin.audit` takes it; None tries the well-known rules.
        band: auto (the law where there is one, else redraws), law, redraw, both, or off.
        modules: patterns of the shell over the names of the modules to measure.
        measures: functions of your own by name, as `fanin.watch` takes them.
        autocast: the lower precision of the passes, or None.
        seed: of dropout masks; those of a fanin run of that seed.

    Raises:
        UserError: what does not fit, in one line.

    >>> generator = torch.manual_seed(0)
    >>> layers = [layer for _ in range(10) for layer in (nn.Linear(50, 50, bias=False), nn.ReLU())]
    >>> found = profile(nn.Sequential(*layers), torch.randn(20, 50), band="off")
    >>> found.verdict, found.advice[0].layers[0], 50 * found.advice[0].variances["0"]
    ('vanishing', '0', 2.0)
    """
    inner = checked(model)
    expect = ExpectedNorms(
        inner, inputs, targets, loss, autocast=autocast, redraws=redraws, redraw=redraw, rules=rules, band=band
    )
    chosen = chosen_modules(modules, [name for name, _ in inner.named_modules()])
    probe = Probe(measures=measures)
    fixed = ProbePass(inner, Capture(inner), inputs, targets, loss, seed=seed, autocast=autocast)
    seen = whole_look(fixed, observer_of(inner))
    seen.chosen = chosen
    labels, values = measure_profile(seen, probe.measures)
    overlay = Overlay.over(inner, expect=expect)
    rows = overlay.annotate("init", labels, values[0].tolist())
    found, batch = overlay.expected, batch_of(inputs)
    start = math.nan if batch is None else rms(batch)

    def look(model: nn.Module) -> list[LayerState]:
        passes = ProbePass(model, Capture(model), inputs, targets, loss, seed=seed, autocast=autocast)
        return layer_states(model, whole_look(passes, observer_of(model)), None)

    advice = advise(layer_states(inner, seen, batch), start, overlay.analysis)
    return Profile(
        _table(rows),
        [with_trial(one, inner, look) for one in advice],
        overlay.analysis,
        drawn_by=expect.drawn.rule if found is not None and band not in ("off", "redraw") else "",
        no_law=overlay.no_law,
        no_redraw="" if found is None else found.no_redraw,
    )


def _table(rows: Sequence[ProfileRow]) -> pd.DataFrame:
    """The rows as fanin.load gives those of a run."""
    import pandas as pd

    columns = names(PROFILES)
    told = [{"snapshot": "init", **asdict(row), "source": row.source or math.nan} for row in rows]
    kinds = {name: "object" if name in TEXT else "int64" if name == "index" else "float64" for name in columns}
    return pd.DataFrame(told, columns=columns).astype(kinds)
