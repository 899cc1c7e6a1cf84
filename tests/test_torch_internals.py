"""Torch's private interface: what fanin calls of it, by name, and that it calls it in one place."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
import torch

import fanin
from fanin import torch_internals
from fanin.train.flops import formulas

LISTS = (
    "add",
    "add_",
    "addcdiv_",
    "addcmul_",
    "clamp_max_",
    "clamp_min_",
    "copy_",
    "div",
    "div_",
    "lerp",
    "lerp_",
    "mul",
    "mul_",
    "norm",
    "sign",
    "sign_",
    "sqrt",
    "sqrt_",
    "sub",
)
"""Of torch's list operations."""

PRIVATE = re.compile(r"torch\.(\w+\.)*_(?!_)\w+|\b_python_dispatch|nn\.modules\.\w+\._\w+|_should_skip_dynamo")


def test_private_names_are_called_in_one_room() -> None:
    folder = Path(fanin.__file__).parent
    code = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.py")}
    spoken = re.compile(r'""".*?"""|#[^\n]*', re.DOTALL)
    assert {name for name, text in code.items() if PRIVATE.search(spoken.sub("", text))} == {"torch_internals.py"}


def test_the_room_names_what_is_used() -> None:
    used = set(re.findall(r"torch\._(foreach_\w+)", Path(torch_internals.__file__).read_text()))
    assert used == {f"foreach_{name}" for name in LISTS}


def test_the_log_is_that_of_torchs_trees() -> None:
    assert logging.getLogger(torch_internals.PYTREE_LOG) is sys.modules["torch.utils._pytree"].log


@pytest.mark.parametrize("name", LISTS)
def test_list_operations_do_what_the_operation_does_to_each(name: str) -> None:
    """Held against the public operation of the same name, in place where it is."""
    random = torch.Generator().manual_seed(0)
    first, second, third = ([torch.rand(3, generator=random) + 0.5 for _ in range(2)] for _ in range(3))
    others = {
        "add": (second,), "sub": (second,), "mul": (second,), "div": (second,), "addcmul": (second, third),
        "addcdiv": (second, third), "lerp": (second, 0.3), "clamp_min": (0.7,), "clamp_max": (0.7,), "copy": (second,),
    }.get(name.rstrip("_"), ())  # fmt: skip
    public = torch.linalg.vector_norm if name == "norm" else getattr(torch.Tensor, name)
    pairs = [tuple(one[i] if isinstance(one, list) else one for one in others) for i in range(2)]
    wanted = [public(one.clone(), *more) for one, more in zip(first, pairs, strict=True)]
    found = getattr(torch_internals, f"foreach_{name}")(first, *others)
    torch.testing.assert_close(list(first if name.endswith("_") else found), wanted)


def test_a_backward_pass_is_known_from_inside() -> None:
    seen = []
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda gradient: seen.append(torch_internals.in_backward()))
    seen.append(torch_internals.in_backward())
    x.sum().backward()
    assert seen == [False, True]


def test_what_is_compiled_is_known() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    assert torch_internals.compiled_modules(model) == []
    assert torch_internals.original_module(model) is None
    assert torch_internals.original_module(torch.compile(model, backend="eager")) is model
    assert torch_internals.compiler_is_here()
    model[1].compile(backend="eager")
    assert torch_internals.compiled_modules(model) == ["1"]


def test_a_scaler_says_whether_it_has_divided() -> None:
    scaler = torch.amp.GradScaler("cpu")
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler.scale(weight.sum()).backward()
    assert not torch_internals.is_unscaled(scaler)
    scaler.unscale_(optimizer)
    assert torch_internals.is_unscaled(scaler)
    scaler.step(optimizer)
    scaler.update()
    assert not torch_internals.is_unscaled(scaler)


def test_nothing_is_said_of_triton_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: torch warns when the module of its formulas is imported, and every command needs them."""
    usual = formulas()
    monkeypatch.setattr(torch.version, "cuda", "13")  # of a build that would have it
    for name in ("triton", "triton.runtime.jit"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "torch.utils.flop_counter")
    said: list[logging.LogRecord] = []
    logger = logging.getLogger("torch.utils.flop_counter")
    monkeypatch.setattr(logger, "handle", said.append)  # torch's loggers pass nothing on
    logger.setLevel(logging.NOTSET)
    assert len(formulas()) == len(usual)
    assert said == []
