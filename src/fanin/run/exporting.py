"""A trained network as a program that runs without fanin: torch's own format, or ONNX; checked against the network."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.record.atomic_files import write_atomically

FORMATS = ("pt2", "onnx")

SLACK = 1e-4
"""By how much a program's outputs may differ, by the largest of all: some hundred float32 roundings in each layer."""

EXAMPLE = 2
"""Examples that a program is traced with: one would read as a number that never changes."""


def export(model: nn.Module, inputs: Tensor, kind: str, path: Path) -> Callable[[Tensor], Tensor]:
    """Write a network as a program for any number of examples, and read it again.

    Args:
        model: in evaluation mode, on the CPU.
        inputs: examples [N, ...] as it takes them, N >= 1.
        kind: "pt2", which `torch.export.load` reads, or "onnx", for ONNX Runtime and others.
        path: of the file.

    Returns:
        what the file holds, as a function of inputs.

    Raises:
        UserError: a library is missing, or the network is no such program.
    """
    some = inputs[torch.arange(EXAMPLE) % len(inputs)]
    try:
        with _quiet(), torch.no_grad():
            content = _onnx(model, some) if kind == "onnx" else _pt2(model, some)
    except (UserError, ImportError):
        raise
    except Exception as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        fix = "its passes are no program for any number of examples"
        raise UserError(f"{type(model).__name__} cannot be exported as {kind}, {fix}: {told}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
    return _read_onnx(path) if kind == "onnx" else _read_pt2(path)


def check_export(answer: Callable[[Tensor], Tensor], model: nn.Module, inputs: Tensor, batch: int = 1000) -> float:
    """How far a program's outputs are from the network's, at most; on one example, and on batches of all of them.

    Raises:
        UserError: further than rounding explains.
    """
    with torch.no_grad():
        expected = torch.cat([model(some) for some in torch.split(inputs, batch)])
    found = torch.cat([answer(some) for some in torch.split(inputs, batch)])
    apart = max(float((found - expected).abs().max()), float((answer(inputs[:1]) - expected[:1]).abs().max()))
    allowed = SLACK * float(expected.abs().max())
    if not apart <= allowed:
        raise UserError(
            f"the exported program answers differently: by {apart:.2g}, and rounding explains {allowed:.2g}"
        )
    return apart


def _dynamic() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1, max=2**24)},)


def _pt2(model: nn.Module, some: Tensor) -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (some,), dynamic_shapes=_dynamic()), file)
    return file.getvalue()


def _onnx(model: nn.Module, some: Tensor) -> bytes:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise UserError(f'--format onnx needs {name}: pip install "fanin[onnx]"') from None
    names: Any = {"input_names": ["inputs"], "output_names": ["outputs"]}
    made = torch.onnx.export(model, (some,), dynamo=True, dynamic_shapes=_dynamic(), verbose=False, **names)
    assert made is not None
    content: bytes = made.model_proto.SerializeToString()
    return content


def _read_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    with _quiet():
        program = torch.export.load(path).module()

    @torch.no_grad()
    def answer(inputs: Tensor) -> Tensor:
        found: Tensor = program(inputs)
        return found

    return answer


def _read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(inputs: Tensor) -> Tensor:
        (found,) = session.run(None, {"inputs": inputs.numpy()})
        return torch.from_numpy(found)

    return answer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of themselves."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
