"""The prunings that a study asks for, made when its grid has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fanin.errors import UserError
from fanin.record.prunings import FOLDER, AskedPruning
from fanin.record.run_folder import RunFolder
from fanin.report.studies.asked import asked_of


def make_prunings(folders: Sequence[Path]) -> None:
    """Prune what the study of these runs asks for; rounds that are finished stay, and others resume.

    What cannot be made is told in a line; its claims then cannot be judged.
    """
    wanted = [asked for asked in asked_of(folders, "prunings") if not _there(asked)]
    if not wanted:
        return
    import torch

    from fanin.run.pruning import Pruning
    from fanin.sweep.pruned_runs import prune
    from fanin.sweep.signals import stop_on_signal

    torch.set_num_threads(1)
    console = Console(highlight=False, stderr=True)
    with console.status("") as status, stop_on_signal() as stop:
        for number, asked in enumerate(wanted):
            status.update(f"prunings: {number} of {len(wanted)}")
            place, run = _place(asked), Path(asked.run)
            masks = place.parent / asked.masks_from if asked.masks_from is not None else None
            how = Pruning(share=asked.share, rounds=asked.rounds, rewind=asked.rewind)
            try:
                for _ in prune(run, how, place, stop_requested=stop, masks_from=masks):
                    pass
            except UserError as error:
                console.print(str(error), soft_wrap=True, style="yellow")


def _place(asked: AskedPruning) -> Path:
    return Path(asked.run).parent / FOLDER / asked.name


def _there(asked: AskedPruning) -> bool:
    """Whether its last round is finished, and has been pruned from the weights that are there now."""
    last = _place(asked) / f"round_{asked.rounds}" / "result.json"
    weights = Path(asked.run) / "checkpoints" / "last.pt"
    if RunFolder(last.parent).complete is None or not weights.is_file():
        return False
    return last.stat().st_mtime_ns >= weights.stat().st_mtime_ns
