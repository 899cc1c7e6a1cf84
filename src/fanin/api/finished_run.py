"""What came of one run, as its folder tells it: status, numbers as tables, the trained network."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.record.run_files import read_run

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


class Run:
    """One run, as its folder tells it now; the tables and the network are read when they are first asked for.

    Args:
        folder: the run's.
        status: where it is known already; else that of status.json.
        error: why it failed, in one line; else that of status.json.
        skipped: whether it was finished before and not run again.
    """

    def __init__(self, folder: Path, *, status: str | None = None, error: str | None = None, skipped: bool = False):
        self.folder, self.skipped = folder.absolute(), skipped
        self._status, self._error = status, error
        self._files = read_run(self.folder)

    def __repr__(self) -> str:
        told = [self.status, self.outcome, "finished before" if self.skipped else ""]
        return f"<fanin run {self.name}: {', '.join(one for one in told if one)}>"

    @property
    def name(self) -> str:
        """Of its folder: what makes it differ from the base of its experiment, and its seed."""
        return self.folder.name

    @property
    def status(self) -> str:
        """One word: done, diverged, failed, interrupted, running (by another process) or unknown."""
        return self._status or self._files.state

    @property
    def error(self) -> str | None:
        """The line that says why it failed or was interrupted."""
        return self._error or self._files.error

    @property
    def outcome(self) -> str:
        """What came of the training in words, such as "learns" or "no progress"; "" where it is not finished."""
        return self._files.outcome

    @property
    def verdict(self) -> str:
        """What the profile at init says of the initialization, such as "critical"; "" where there is none."""
        return self._files.verdict

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json, {} where the run is not finished: final metrics, init, config, versions, ..."""
        return self._files.result

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration, nested."""
        return self._files.config.config

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv: a row per logged step, a column per metric; NaN where one was not evaluated."""
        from fanin.api.tables import METRICS, one_table

        return one_table(self.folder, METRICS)

    @cached_property
    def profiles(self) -> pd.DataFrame:
        """profiles.csv: a row per snapshot, layer and quantity, with what theory expects there."""
        from fanin.api.tables import PROFILES, one_table

        return one_table(self.folder, PROFILES)

    @cached_property
    def model(self) -> nn.Module:
        """The network with the weights that the run ended with, on the CPU and in evaluation mode.

        These are the best ones under early stopping and the average where iterates are averaged; of an interrupted
        run those of its last checkpoint, of one that made no step those at initialization.

        Raises:
            UserError: there is no checkpoint, or it does not fit the network.
        """
        from fanin.api.trained import trained

        return trained(self.folder)
