"""What a process has and does beside its work: cores, memory, open files, garbage, its end. Every system's own way."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from fanin.output import LOST, forgive_output, lost

COLLECT_EVERY = 10_000
"""New objects between two searches for garbage; Python's own number is 700."""

KEEP_FREE = 2**30
"""Bytes; blocks that are smaller, and free memory up to as much, are not given back to the system."""

GUESSED_FREE = 2 * 2**30
"""Bytes of free memory where the system tells of none."""

FEWEST_FILES, MOST_FILES = 256, 65_536
"""Open files that every system allows a process, and that are asked for at most."""

SOCKETS = "fanin-sockets-"
"""What the names of folders of sockets begin with; the number of their process follows."""

LONGEST_SOCKET = 60
"""Letters of a folder for them: a socket's whole path has room for about a hundred."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h

SYNCHRONIZE, WAIT_TIMEOUT, ACCESS_DENIED = 0x100000, 0x102, 5  # of winnt.h, winbase.h and winerror.h

LOCKED_BYTE = 2**30
"""The byte of a file that is locked on Windows."""

OPEN_FILES_MOVE = os.name != "nt"
"""Whether a file that a process has open can be renamed, removed and replaced."""


def collect_rarely() -> None:
    """Search only where very many objects are made: imports, and the models of many runs, leave hardly any garbage.

    At Python's own pace a command spends much of its time on it.
    """
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])


def keep_freed_memory() -> None:
    """Let glibc keep what one program of runs has freed for the next, where it is glibc that allocates.

    By default it gives large blocks back at once, and for every page of the next ones the system has to clear memory
    anew, which short runs feel.
    """
    import ctypes

    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_FREE)
        libc.mallopt(M_MMAP_THRESHOLD, KEEP_FREE)


_code: int | None = None
"""What this process is to end with at once, None where it ends as Python ends."""


def leave(code: int) -> NoReturn:
    """End this process as sys.exit does, but leave it to the system to free the memory.

    Python would take down all that torch and pandas have made, object by object, which takes longer than a short run's
    last steps. What waits for the end is done: other threads, exit functions, buffered output.
    """
    global _code
    _code = code
    sys.exit(code)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a shell's command: a process that loads much and lives shortly, and ends quickly.

    Exits with what `main` returns, 120 where all went well but output was lost, or 130 if the user stopped it.
    """
    forgive_output()
    collect_rarely()
    try:
        code = main() or 0
    except SystemExit as end:
        if isinstance(end.code, str):  # Python prints it
            raise
        code = end.code or 0
    except KeyboardInterrupt:  # before there was anything to stop
        code = 130
    leave(LOST if code == 0 and lost() else code)


@atexit.register  # exit functions are called from the last registered to the first: this one after all of later modules
def _end() -> None:
    """Flush and end, where `leave` has been called."""
    if _code is None:
        return
    code = _code
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:  # a pipe that nobody reads any more, a full disk
        code = code or 120  # Python's own
    os._exit(code)


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS, Windows: what a container leaves is not told there
        return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of main memory that are free for new data."""
    total = total_memory()
    return _pages("SC_AVPHYS_PAGES") or (GUESSED_FREE if total is None else total // 2)


def total_memory() -> int | None:
    """Bytes of main memory that the machine has; None if the system does not tell."""
    return _pages("SC_PHYS_PAGES")


def begin_peak_memory() -> None:
    """Have `most_memory` count anew from here, where the system can: Linux."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")


def most_memory() -> int | None:
    """The most bytes of main memory that this process has held, or since `begin_peak_memory`; None if nobody tells."""
    with suppress(OSError), open("/proc/self/status") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def _pages(name: str) -> int | None:
    try:
        size = os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # macOS knows no free pages, Windows no sysconf
        return None
    return size if size > 0 else None


def open_files() -> int:
    """How many files this process may have open, after asking for as many as it may ask for."""
    try:
        import resource
    except ImportError:  # Windows
        return FEWEST_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_FILES if soft == resource.RLIM_INFINITY else int(soft)


def is_there(pid: int) -> bool:
    """Whether a process of this machine lives."""
    if sys.platform == "win32":  # where os.kill(pid, 0) is Ctrl-C
        return _is_there_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    try:  # one that has ended and that its parent has not looked after yet
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (this module comes before pathlib)
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:  # a system without /proc
        return True


def _is_there_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    process = kernel.OpenProcess(SYNCHRONIZE, False, pid)
    if not process:
        return bool(kernel.GetLastError() == ACCESS_DENIED)  # another user's
    try:
        return bool(kernel.WaitForSingleObject(process, 0) == WAIT_TIMEOUT)  # one that has ended does not wait
    finally:
        kernel.CloseHandle(process)


def lock(file: int, *, wait: bool) -> None:
    """Lock an open file against other processes; the system unlocks it when it is closed.

    Raises:
        OSError: it is locked and not waited for, or this file system or system knows no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        _lock_on_windows(file, wait=wait)
        return
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_on_windows(file: int, *, wait: bool) -> None:
    """Lock a byte far behind the end, for nobody can read what is locked there."""
    try:
        import msvcrt
    except ImportError as error:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error
    place = os.lseek(file, 0, os.SEEK_CUR)
    os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    finally:
        os.lseek(file, place, os.SEEK_SET)


def own_sockets() -> None:
    """Give multiprocessing a folder of its own for sockets, and remove those of commands that were killed."""
    import tempfile
    from multiprocessing.util import Finalize, get_temp_dir

    place = Path(usual := tempfile.gettempdir())
    if len(str(place)) > LONGEST_SOCKET:
        place = Path("/tmp")
    remove_sockets(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{SOCKETS}{os.getpid()}-", dir=place))
    tempfile.tempdir = str(folder)
    try:
        get_temp_dir()  # makes its folder at the first call and keeps to it, until it removes it at exit
    finally:
        tempfile.tempdir = usual
    Finalize(None, _remove_sockets, args=(folder,), exitpriority=-200)  # after multiprocessing's own, which has -100


def remove_sockets(place: Path) -> None:
    """Remove the folders of sockets of processes that are gone."""
    for left in place.glob(f"{SOCKETS}*-*"):
        pid = left.name.removeprefix(SOCKETS).partition("-")[0]
        if pid.isdigit() and not is_there(int(pid)):
            _remove_sockets(left)


def _remove_sockets(folder: Path) -> None:
    with suppress(OSError):  # somebody else's, or gone meanwhile
        for one in folder.iterdir():
            if one.is_socket():
                one.unlink(missing_ok=True)
            elif one.is_dir() and not one.is_symlink():
                _remove_sockets(one)
        folder.rmdir()


_typed_in: list[Path] = []


@contextmanager
def typed_in(folder: Path) -> Iterator[None]:
    """Let relative paths of a configuration mean the folder where the command was typed while the block runs."""
    _typed_in.append(folder)
    try:
        yield
    finally:
        _typed_in.pop()


def typed_path(path: str | os.PathLike[str]) -> Path:
    """A path of a configuration, absolute: with hydra.job.chdir a run works in its folder, and was typed elsewhere."""
    return (_typed_in[-1] if _typed_in else Path.cwd()) / path
