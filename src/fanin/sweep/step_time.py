"""How long a step of a run takes: as runs before have had it, else as a few steps of it take here, in memory alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanin.catalogue import GROUPS, PARTS
from fanin.record.atomic_files import read_json
from fanin.sweep.plan import Planned

TRIAL = 0.3
"""Seconds of steps that a trial takes, its first steps apart."""

WARM_UP = 2
"""Steps before: the first ones allocate, and record CUDA graphs."""

PATIENCE = 10.0
"""Seconds for the trials of all recipes; those that are left are taken to cost the mean of the others."""

MOST_READ = 300
"""Results of earlier runs that are read."""


def cost_key(values: Mapping[str, Any]) -> str:
    """Equal for configurations whose steps cost the same: the numbers of what is computed may differ.

    Args:
        values: a configuration as plain values, interpolations resolved.
    """
    kept: list[object] = []
    for group in PARTS:
        node, shared = values.get(group) or {}, GROUPS[group].shared
        told = node if GROUPS[group].several else {group: node}
        for name, option in sorted(told.items()):
            if shared == "all" or not isinstance(option, Mapping):
                kept.append([name, _without(option, ("steps", "epochs", "progress", "root"))])
            elif shared == "numbers":
                kept.append([name, {key: one for key, one in option.items() if not isinstance(one, (int, float))}])
    return json.dumps(kept, sort_keys=True, default=str)


def _without(node: Any, keys: Sequence[str]) -> Any:
    return {key: one for key, one in node.items() if key not in keys} if isinstance(node, Mapping) else node


@dataclass
class StepTime:
    """Seconds of a step, and where they come from.

    Args:
        grid: the folder of the grid, whose finished runs tell.
        threads: of a worker; None for torch's own number.

    Attributes:
        sources: "runs" and "trials", how many of each have told.
    """

    grid: Path
    threads: int | None
    sources: dict[str, int] = field(default_factory=lambda: {"runs": 0, "trials": 0})
    _known: dict[tuple[str, int], float] = field(default_factory=dict)
    _before: dict[str, list[tuple[float, float]]] | None = None
    _spent: float = 0.0

    def of(self, group: Sequence[Planned]) -> float | None:
        """Of a program that trains these runs, seconds; None if nothing tells.

        Args:
            group: one run, or several that are trained as one program.
        """
        key = cost_key(group[0].composed.resolved), len(group)
        if key not in self._known:
            seconds = self._earlier(key[0], len(group))
            if seconds is None and self._spent < PATIENCE:
                began = time.perf_counter()
                seconds = tried(group, self.threads)
                self._spent += time.perf_counter() - began
                self.sources["trials"] += 1
            if seconds is None:
                found = list(self._known.values())
                return sum(found) / len(found) if found else None
            self._known[key] = seconds
        return self._known[key]

    def _earlier(self, key: str, together: int) -> float | None:
        """From finished runs of the same cost in the grid's folder; each has its own share of a program's time."""
        if self._before is None:
            self._before = {}
            for path in sorted(self.grid.glob("*/result.json"))[:MOST_READ]:
                said = read_json(path) or {}
                steps, seconds, config = said.get("steps"), said.get("seconds"), said.get("config")
                if steps and isinstance(seconds, float) and isinstance(config, dict):
                    self._before.setdefault(cost_key(config), []).append((seconds, steps))
        found = self._before.get(key, [])
        if not found:
            return None
        self.sources["runs"] += len(found)
        return together * sum(seconds for seconds, _ in found) / sum(steps for _, steps in found)


def tried(group: Sequence[Planned], threads: int | None) -> float:
    """Seconds of a step of some runs, measured on networks that are thrown away.

    Args:
        group: one run, or several of one structure.
        threads: of torch while it is measured; None for as many as there are.
    """
    import torch

    from fanin.run.build import load_data, recipe
    from fanin.run.execute import batches_of
    from fanin.run.networks import initialized, trained_model
    from fanin.train.batches import probe_batch
    from fanin.train.fused_learner import FusedLearner
    from fanin.train.single_learner import SingleLearner

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        recipes = [recipe(run.composed.task) for run in group]
        first = recipes[0]
        data = load_data(group[0].composed.task, first.device, first.dtype, indices=first.takes_indices)
        batches = batches_of(recipes, data)
        inputs, _ = probe_batch(data.train_x, data.train_y, first.probe.batch_size, batches.seeds)
        models = [initialized(made, data, one) for made, one in zip(recipes, inputs, strict=True)]
        trained = [trained_model(made, model, batches) for made, model in zip(recipes, models, strict=True)]
        learner = FusedLearner(trained) if len(trained) > 1 else SingleLearner(trained[0])
        rates = [made.lr for made in recipes]
        done, began = 0, time.perf_counter()
        while done < WARM_UP + 1 or time.perf_counter() - began < TRIAL:
            if done == WARM_UP:
                began = time.perf_counter()
            float(learner.step(batches(done), rates).loss.sum())  # waits for the device
            done += 1
        return (time.perf_counter() - began) / (done - WARM_UP)
    finally:
        torch.set_num_threads(before)
