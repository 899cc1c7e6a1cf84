"""fanin.run: one run in the host's own process, by the same plan and the same engine as the command's."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.api.composing import Folder, composed, folder_of, opened, words_of
from fanin.api.finished_run import Run
from fanin.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(
    overrides: Sequence[str] = (),
    *,
    folder: Folder | None = None,
    config_dir: Folder | None = None,
    verbose: bool = False,
    check: bool = False,
) -> Run:
    """Run one configuration and return what came of it, as the command `fanin` with the same overrides does.

    A finished run is not run again ("force=true" does that); an interrupted one resumes from its last checkpoint. The
    host's process stays as it is: environment, folder, warnings, signal handlers, logging, random streams, torch's
    threads and defaults, Hydra. Ctrl-C stops the run at its next step and raises KeyboardInterrupt.

    Args:
        overrides: as on the command line, a word each: ["model.depth=20", "optimizer=adam"].
        folder: of the run; None for outputs/EXPERIMENT/NAME below the current one, as the command has it.
        config_dir: a folder of option files of your own, GROUP/OPTION.yaml.
        verbose: whether a progress bar and the run's last line are shown.
        check: whether a run that fails raises; else its `status` is "failed" and its `error` says why.

    Raises:
        UserError: what was typed cannot be run: a line for each mistake, and nothing is written. With `check`, the run
            failed.
        KeyboardInterrupt: it was interrupted; the same call resumes it.
    """
    from omegaconf import read_write

    from fanin.api.host import guest

    words, place = words_of(overrides), folder_of("folder", folder)
    with guest(), opened(words, config_dir) as app:
        cfg = composed(app, words)
        if place is not None:
            with read_write(cfg.hydra.run):
                cfg.hydra.run.dir = str(place)
        done = _run(cfg, verbose=verbose)
    if check and done.status == "failed":
        raise UserError(f"{done.folder} failed: {done.error}; its run.log tells more")
    return done


def _run(cfg: DictConfig, *, verbose: bool) -> Run:
    """Plan and run a composed configuration in this process.

    Raises:
        InvalidRuns: it cannot be run.
        KeyboardInterrupt: the run was asked to stop.
    """
    from fanin.api.host import torchs_own
    from fanin.record.run_folder import RunFolder
    from fanin.run.identity import identify, without_hydra
    from fanin.run.request import Unseen
    from fanin.sweep.job import execute_together
    from fanin.sweep.plan import plan_run
    from fanin.sweep.run_view import Display
    from fanin.sweep.signals import stop_on_signal
    from fanin.sweep.worker import Posted

    identity = identify(without_hydra(cfg), cfg.hydra)
    folder = RunFolder(Path(cfg.hydra.run.dir).absolute())
    again = bool(cfg.get("force")) or not folder.finished(identity.config_hash)
    with torchs_own() if again else nullcontext():  # torch is imported only where there is something to run
        planned = plan_run(cfg)
        hydra = planned.composed.record
        hydra = hydra | {"runtime": hydra["runtime"] | {"output_dir": str(folder.path)}}
        shown = Display(folder.path, enabled=bool(cfg.trainer.progress)) if verbose else None
        one = Posted(
            planned.composed.task,
            identity,
            folder,
            shown or Unseen(),
            config=planned.composed.plain,
            overrides=planned.composed.overrides,
            record={"hydra": hydra},
        )
        with stop_on_signal(queued=False) as stop, shown or nullcontext():
            (outcome,) = execute_together([one], stop)
    if stop.ending is not None:  # the host was to end, and only waited for the run
        signal.raise_signal(stop.ending)
    if stop.requested or outcome["state"] == "interrupted":
        raise KeyboardInterrupt
    if outcome["state"] == "failed":
        return Run(folder.path, error=outcome["error"], status="failed")
    return Run(folder.path, skipped=outcome["state"] == "skipped")
