"""One job: the folder of one configuration is owned, skipped, run or marked as failed. Every launcher calls this."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fanin.errors import UserError
from fanin.identity import identify
from fanin.record.folder import FolderBusy, RunFolder
from fanin.sweep.display import Display
from fanin.sweep.signals import stop_on_signal
from fanin.sweep.summary import update_summary

log = logging.getLogger(__name__)

outcomes: list[dict[str, Any]] = []
"""What the jobs of this process came to, in order: {"run", "state", "error"}."""


def run_job(cfg: DictConfig) -> dict[str, Any]:
    """Run one composed configuration in the folder that Hydra has made for it.

    Whatever goes wrong is written into the run's own log and status and returned as its state: one job never takes
    the others of its grid with it.

    Returns:
        {"run": name, "state": done | diverged | failed | skipped | busy, "error": last line or None}.

    Raises:
        KeyboardInterrupt: the user asked to stop; the run is checkpointed and marked as interrupted.
    """
    hydra_cfg = HydraConfig.get()
    identity = identify(cfg, hydra_cfg)  # type: ignore[arg-type]  # HydraConf is its schema, a DictConfig its value
    folder = RunFolder(Path(hydra_cfg.runtime.output_dir))
    display = Display(folder.path, enabled=bool(cfg.trainer.progress))
    outcome: dict[str, Any] = {"run": identity.name, "folder": str(folder.path), "error": None}
    try:
        with folder.owned():
            if folder.finished(identity.config_hash) and not cfg.force:
                outcome["state"] = "skipped"
                display.skipped(folder)
            else:
                outcome |= _attempt(cfg, identity, folder, display)
                update_summary(folder.path.parent, folder.path)
    except FolderBusy:
        outcome["state"] = "busy"
        display.line("is being run by another process", style="yellow")
    outcomes.append(outcome)
    return outcome


def _attempt(cfg: DictConfig, identity: Any, folder: RunFolder, display: Display) -> dict[str, Any]:
    from fanin.loop import Interrupted  # torch: not before it is known that there is something to run
    from fanin.run import run

    log.info("run %s, configuration %s", identity.name, identity.config_hash)
    try:
        with stop_on_signal() as stop, display:
            result = run(cfg, identity, folder, stop, display.step)
    except (Interrupted, KeyboardInterrupt) as error:
        if not isinstance(error, Interrupted):
            folder.write_status("interrupted", error="stopped by the user at once")
        display.line("interrupted; the same command goes on", style="yellow")
        update_summary(folder.path.parent, folder.path)
        raise KeyboardInterrupt from None
    except (Exception, SystemExit) as error:  # a part that calls exit() takes no other run with it
        return {"state": "failed", "error": _mark_failed(error, folder, display)}
    log.info("%s after %d steps: %s", result["state"], result["steps"], result["outcome"])
    display.ended(result)
    return {"state": result["state"]}


def _mark_failed(error: BaseException, folder: RunFolder, display: Display) -> str:
    """Put the traceback into the run's own log and the last line into its status; returns that line."""
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = said.strip().splitlines()[0]
    log.error("failed: %s\n%s", line, traceback.format_exc())
    try:
        (folder.path / "result.json").unlink(missing_ok=True)
        folder.write_status("failed", error=line)
    except OSError as full:  # a disk so full that not even this fits: the terminal is all that is left
        line += f" (and its folder cannot be written: {full})"
    display.line(f"failed: {line} (see {folder.path / 'run.log'})", style="red")
    return line
