"""What a process has, by each system's own way of telling: the calls that some systems lack are taken away."""

from __future__ import annotations

import ast
import ctypes
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, TypeGuard

import pytest

from fanin import process
from fanin.record.atomic_files import write_atomically


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system like macOS, which lacks some calls, or like Windows, which lacks more."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    for module in ("fcntl", "resource"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_cores_are_those_that_a_process_may_use() -> None:
    code = "import os; from fanin.process import cores; os.sched_setaffinity(0, [0]); print(cores())"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "1\n"
    assert process.cores() == len(os.sched_getaffinity(0))


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs /proc")
def test_memory_is_what_the_system_tells() -> None:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert process.total_memory() == 1024 * int(lines["MemTotal"].split()[0])
    assert 0 < process.free_memory() <= 1024 * int(lines["MemTotal"].split()[0])


def test_another_system_is_asked_in_another_way(elsewhere: None, tmp_path: Path) -> None:
    assert process.cores() == os.cpu_count()
    assert process.total_memory() is None
    assert process.free_memory() == 2 * 2**30
    assert process.open_files() == 256
    with (tmp_path / "file").open("w") as file, pytest.raises(OSError, match=r"[Ll]ock"):
        process.lock(file.fileno(), wait=False)


class Kernel:
    """Windows' own answers about processes: 7 runs, 8 has ended, 9 is another user's, and there is no other."""

    closed: ClassVar[list[int]] = []

    def OpenProcess(self, rights: int, inherited: bool, pid: int) -> int:  # noqa: N802
        assert (rights, inherited) == (0x00100000, False)
        self.pid = pid
        return 100 + pid if pid in (7, 8) else 0

    def GetLastError(self) -> int:  # noqa: N802
        return 5 if self.pid == 9 else 87

    def WaitForSingleObject(self, handle: int, milliseconds: int) -> int:  # noqa: N802
        assert milliseconds == 0
        return 0x102 if handle == 107 else 0

    def CloseHandle(self, handle: int) -> None:  # noqa: N802
        self.closed.append(handle)


def test_windows_is_asked_about_processes_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `os.kill(pid, 0)` sends Ctrl-C to the process."""
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=Kernel()), raising=False)
    with monkeypatch.context() as there:
        there.setattr(sys, "platform", "win32")
        there.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
        assert [process.is_there(pid) for pid in (7, 8, 9, 10)] == [True, False, True, False]
    assert Kernel.closed == [107, 108]


def test_windows_locks_a_byte_that_nobody_reads(
    elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def locking(file: int, mode: int, size: int) -> None:
        asked.append((os.lseek(file, 0, os.SEEK_CUR), mode, size))

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_LOCK=1, LK_NBLCK=2))  # type: ignore[arg-type]
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"content")
        file.flush()
        process.lock(file.fileno(), wait=True)
        process.lock(file.fileno(), wait=False)
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == len(b"content")
    assert asked == [(2**30, 1, 1), (2**30, 2, 1)]


def test_what_is_open_is_not_moved_where_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a reader keeps a file from being replaced as well."""
    replace, refused = os.replace, [True, True]

    def strict(source: str, target: Path) -> None:
        opened = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
        if source in opened:
            raise AssertionError("the file is open")
        if refused:
            refused.pop()
            raise PermissionError(13, "a reader has it open")
        replace(source, target)

    monkeypatch.setattr(process, "OPEN_FILES_MOVE", False)
    monkeypatch.setattr(os, "replace", strict)
    (tmp_path / ".file.abcdefgh").write_bytes(b"left by a writer that was killed")
    write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]
    assert refused == []


def test_half_of_the_memory_is_taken_for_free_where_only_all_of_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    known = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}

    def sysconf(name: str) -> int:
        if name not in known:
            raise ValueError(name)
        return known[name]

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert (process.free_memory(), process.total_memory()) == (2048 * 1000, 4096 * 1000)


def test_files_are_written_without_locks_elsewhere(elsewhere: None, tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        write_atomically(tmp_path / "file", lambda file: file.write(text))  # noqa: B023 (it is called here)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"two")]


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    code = (
        "import resource; from fanin.process import open_files; n = resource.RLIMIT_NOFILE; "
        "resource.setrlimit(n, (100, 500)); print(open_files(), resource.getrlimit(n))"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "500 (500, 500)\n"


def test_sockets_of_a_killed_command_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket has at most 107 bytes
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (tmp_path / f"fanin-sockets-{pid}-abc" for pid in (gone.pid, os.getpid()))
    for folder in (dead, alive):
        folder.mkdir()
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(folder / "listener", tmp_path))
    notes = tmp_path / f"fanin-sockets-{gone.pid}-notes"
    notes.mkdir()
    (notes / "mine.txt").write_text("mine")
    process.remove_sockets(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, notes.name])
    assert (notes / "mine.txt").read_text() == "mine"


def test_files_are_utf_8_on_every_system() -> None:
    """Windows has another encoding by default, in which no docstring's formula can be written."""
    silent = []
    for path in [*Path(process.__file__).parent.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            words = [one.value for one in (*node.args, *(key.value for key in node.keywords)) if is_text(one)]
            opens = node.func.attr == "open" and ast.unparse(node.func.value) not in (
                "os",
                "gzip",
                "Image",
                "webbrowser",
            )
            if (opens and not any("b" in word for word in words)) or node.func.attr in ("read_text", "write_text"):
                silent += [f"{path.name}:{node.lineno}"] * all(key.arg != "encoding" for key in node.keywords)
    assert silent == []


def is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_pythons_private_names_are_not_used() -> None:
    """`threading._shutdown`, `atexit._run_exitfuncs` and multiprocessing's `_config` were once."""
    private = re.compile(r"\b(threading|atexit|multiprocessing(\.\w+)*|current_process\(\))\._\w+")
    texts = {path.name: path.read_text() for path in Path(process.__file__).parent.rglob("*.py")}
    assert {name: found[0] for name, text in texts.items() if (found := private.search(text))} == {}
    assert private.search("current_process()._config")


def test_sockets_have_one_folder_that_goes_with_the_process() -> None:
    code = (
        "import tempfile; from fanin.process import own_sockets; own_sockets(); "
        "from multiprocessing.util import get_temp_dir; print(get_temp_dir()); print(tempfile.gettempdir())"
    )
    short = tempfile.mkdtemp(prefix="t", dir="/tmp")
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "TMPDIR": short}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    sockets, usual = map(Path, done.stdout.split())
    assert (usual, sockets.parent.parent) == (Path(short), Path(short))
    assert sockets.parent.name.startswith("fanin-sockets-")
    assert done.stderr == ""
    assert list(Path(short).iterdir()) == []
    Path(short).rmdir()
