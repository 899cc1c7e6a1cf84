"""A process that has imported all that a command imports, and turns into a command as often as it is asked: by fork.

A command is then there in milliseconds instead of two seconds, and yet a process of its own with its own arguments,
folder, environment and streams, as `python -m` makes it; so is the fork server of its pool. Nothing but
modules is shared, and the hash seed. command_line.py starts one such process for each process of tests.
"""

from __future__ import annotations

from fanin.process import leave  # isort: skip (first: what it does at the end of a process is done last)

import base64
import copy
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress
from fcntl import F_DUPFD, F_DUPFD_CLOEXEC, fcntl
from multiprocessing import process, util
from pathlib import Path
from typing import Any

LOADED = (
    "hydra._internal.hydra", "fanin.run.execute", "fanin.train.fused_learner",
    "fanin.sweep.pool", "fanin.sweep.grid", "fanin.sweep.fused_groups",
    "fanin.report.make", "fanin.report.write.terminal", "matplotlib.backends.backend_agg", "sklearn.metrics",
    "fanin.api.application", "fanin.api.hydra_errors", "fanin.api.option_files", "fanin.api.overrides",
    "fanin.api.task", "fanin.parts.activations", "fanin.parts.preprocess", "hydra_plugins.fanin.grid_sweeper",
    "hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper",
    "hydra._internal.core_plugins.bash_completion", "hydra._internal.core_plugins.fish_completion",
    "hydra._internal.core_plugins.zsh_completion", "hydra._internal.core_plugins.file_config_source",
    "hydra._internal.core_plugins.importlib_resources_config_source",
    "hydra._internal.core_plugins.structured_config_source",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher", "hydra_plugins.hydra_submitit_launcher.submitit_launcher",
    "torch.utils.serialization.config", "matplotlib.style", "multiprocessing.popen_fork",
    "multiprocessing.popen_forkserver",
)  # fmt: skip
"""What a command imports sooner or later."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
"""A white pixel."""


def send(connection: socket.socket, content: dict[str, Any], descriptors: list[int]) -> None:
    """Send JSON and open files to another process."""
    body = json.dumps(content).encode()
    socket.send_fds(connection, [len(body).to_bytes(4, "big")], descriptors)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What was sent, or None when the other side is gone."""
    head, descriptors, *_ = socket.recv_fds(connection, 4, 8)
    if not head:
        return None
    with connection.makefile("rb", buffering=0) as file:
        left, body = int.from_bytes(head, "big"), b""
        while len(body) < left:
            body += file.read(left - len(body))
    return json.loads(body), descriptors


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for every request: returns what is asked for in the new process, and None at the end of all."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # Ctrl-C is for commands, the earliest too
    while (received := receive(control)) is not None:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # those who have waited
                pass
        request, (out, err, told) = received
        if os.fork() == 0:
            control.close()
            command = os.fork()
            if command == 0:
                os.dup2(out, 1)
                os.dup2(err, 2)
                os.closerange(3, max(out, err, told) + 1)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                return request
            os.close(out)
            os.close(err)
            os.write(told, b"%d\n" % command)
            code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
            os.write(told, b"%d\n" % code)
            os._exit(0)
        for descriptor in (out, err, told):
            os.close(descriptor)
    return None


def settle(folder: str, environment: dict[str, str]) -> None:
    """Take a working directory and an environment, as if started there with it."""
    os.chdir(folder)
    process.ORIGINAL_DIR = folder  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(environment)


def remember_options() -> None:
    """Parse a file of options once for all commands: one composes up to three times, and half of that is parsing.

    What is known is found by a file's whole text; known beforehand are Hydra's own and those of the default recipe.
    """
    import hydra
    import yaml
    from omegaconf import OmegaConf

    parse = yaml.load
    known: dict[tuple[str, str], Any] = {}

    def load(stream: Any, Loader: Any) -> Any:  # noqa: N803 (so it is called by name)
        if not hasattr(stream, "seek"):
            return parse(stream, Loader)
        text = stream.read()
        if (text, Loader.__name__) not in known:
            stream.seek(0)  # an error names the file and the line
            known[text, Loader.__name__] = parse(stream, Loader)
        return copy.deepcopy(known[text, Loader.__name__])

    yaml.load = load
    ours, theirs = Path(__file__).parents[1] / "conf", Path(hydra.__file__).parent / "conf"
    defaults = [line for line in OmegaConf.load(ours / "config.yaml").defaults if not isinstance(line, str)]
    options = [ours / f"{group}/{option}.yaml" for line in defaults for group, option in line.items()]
    for path in [*filter(Path.is_file, options), *theirs.rglob("*.yaml")]:
        OmegaConf.load(path)


def draw_blanks() -> None:
    """Leave the figures of a report white: drawing them takes three quarters of the time of a small grid."""
    from fanin.report.figures import saving

    blank = {".svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".png": base64.b64decode(PNG)}
    saving.print_figure = lambda figure, path: path.write_bytes(blank[path.suffix])


def stand_by() -> None:
    """Fork the process that becomes the fork server of the command's pool when multiprocessing starts one.

    It is as empty as a fresh interpreter: nothing of the command has happened in it.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        ours.close()
        received = receive(theirs)
        theirs.close()
        if received is None:  # the command ended without a pool
            os._exit(0)
        request, descriptors = received
        settle(request["folder"], request["environment"])
        high = [fcntl(descriptor, F_DUPFD, 100) for descriptor in descriptors]
        os.closerange(3, 100)
        for descriptor, number in zip(high, request["numbers"], strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.argv = ["-c"]
        signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
        exec(request["code"], {"__name__": "__main__"})
        os._exit(0)
    theirs.close()
    far = socket.socket(fileno=fcntl(ours, F_DUPFD_CLOEXEC, 1000))  # out of the way of the command's own
    ours.close()
    start = util.spawnv_passfds  # type: ignore[attr-defined]

    def start_warm(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
        if "multiprocessing.forkserver" not in str(arguments[-1]):
            return int(start(path, arguments, descriptors))
        request = {"code": arguments[-1], "folder": str(Path.cwd()), "environment": dict(os.environ)}
        mask = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        send(far, request | {"numbers": list(descriptors), "mask": mask}, list(descriptors))
        util.spawnv_passfds = start  # type: ignore[attr-defined]  # a second one, after the death of this, is a real one
        return child

    util.spawnv_passfds = start_warm  # type: ignore[attr-defined]


def main() -> None:
    """Serve commands; in the process of each, run it to its end."""
    typed_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [entry for entry in sys.path[1:] if entry not in typed_path]
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pandas imports pyarrow where it is installed
    for name in LOADED:
        importlib.import_module(name)
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert len(threads) == 1, f"of these threads all but the first would not survive the fork: {threads}"
    remember_options()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    settle(request["folder"], request["environment"])
    typed_path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [request["folder"], *typed_path, *path]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    sys.argv[1:] = request["arguments"]
    if request["grid"]:
        stand_by()
    if not request["figures"]:
        draw_blanks()
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        leave(int(end.code or 0))
    leave(0)


if __name__ == "__main__":
    main()
