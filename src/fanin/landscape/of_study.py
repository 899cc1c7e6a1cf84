"""The lines and planes that a study asks for, made when its grid has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fanin.errors import UserError
from fanin.record.landscape_files import FOLDER, Asked, read_landscape
from fanin.report.studies.asked import asked_of


def make_landscapes(folders: Sequence[Path]) -> None:
    """Make what the study of these runs asks for and is not there, of the same weights, beside the runs.

    What cannot be made is told in a line; its claims then cannot be judged.
    """
    wanted = [asked for asked in asked_of(folders, "landscapes") if not _there(asked)]
    if not wanted:
        return
    import torch

    from fanin.landscape.surfaces import landscape_of

    torch.set_num_threads(1)  # as the runs do: beside other processes, threads that wait for each other lose much

    console = Console(highlight=False, stderr=True)
    told: set[str] = set()
    with console.status("") as status:
        for number, asked in enumerate(wanted):
            status.update(f"lines and planes through trained weights: {number} of {len(wanted)}")
            try:
                landscape_of(asked).write(Path(asked.runs[0]).parent / FOLDER, asked.name)
            except UserError as error:
                if str(error) in told:
                    continue
                told.add(str(error))
                console.print(str(error), soft_wrap=True, style="yellow")


def _there(asked: Asked) -> bool:
    """Whether it has been made of the weights that are there now."""
    found = read_landscape(Path(asked.runs[0]).parent / FOLDER, asked.name)
    if found is None:
        return False
    checkpoints = [Path(run) / "checkpoints" / "last.pt" for run in asked.runs]
    seals = [path.read_bytes()[-8:].decode(errors="replace") if path.is_file() else "initial" for path in checkpoints]
    return found.about.get("weights") == seals
