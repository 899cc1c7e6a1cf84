"""The command typed inside the test's own process, for what ends before a run starts: no start of an interpreter."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from command_line import Said


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """The command's main(), called in an empty folder."""
    from fanin.cli.main import main
    from fanin.sweep.job import outcomes

    def call(*arguments: str) -> Said:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["fanin", *arguments])
        outcomes.clear()
        code: object = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        out, err = capsys.readouterr()
        return Said(int(str(code)), out.splitlines(), err.splitlines())

    # a grid with a mistake needs no workers
    monkeypatch.setattr("fanin.sweep.worker_process.warm_up", lambda method: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FANIN_DATA", raising=False)
    threads = torch.get_num_threads()
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield call
    root.setLevel(level)
    root.handlers[:] = handlers
    torch.set_num_threads(threads)
