"""Figures that are drawn by a process of their own, while the report beside them stays current."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fanin.record.atomic_files import alone, read_json
from fanin.report.read.reuse import RECORD, forget

FOLDER = ".figures"


class Drawing:
    """A whole report on its way in a hidden folder of the report's own, of which figures are taken over.

    Args:
        words: what was typed behind fanin-report, without what makes it watch.
        place: the report's folder.
    """

    def __init__(self, words: Sequence[str], place: Path) -> None:
        self.place, self.folder, self.began = place, place / FOLDER, time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        command = [sys.executable, "-m", "fanin.report.cli", *words, "--out", str(self.folder)]
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)

    @property
    def ended(self) -> bool:
        """Whether it has ended, well or not."""
        return self.process.poll() is not None

    def take_over(self, patience: float) -> bool:
        """Put its figures and TensorBoard's files in the place of the report's; whether there were some.

        Args:
            patience: seconds to wait for another report in the same place.
        """
        record = read_json(self.folder / RECORD)
        if self.process.returncode != 0 or record is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return False
        with alone(self.place / ".lock", patience):
            forget(self.place)
            shutil.rmtree(self.place / "tensorboard", ignore_errors=True)
            for name in (*record["figures"], RECORD, "tensorboard"):
                with suppress(FileNotFoundError):
                    (self.folder / name).replace(self.place / name)
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def stop(self) -> None:
        """End it, and leave nothing of it."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
