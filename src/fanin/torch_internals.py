"""Torch's private interface, all of it that fanin calls: what a new version of torch may take away.

List operations do one kind of work on many tensors in one call: on a GPU one launch, on a CPU one step of Python.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

foreach_add = torch._foreach_add
foreach_add_ = torch._foreach_add_
foreach_addcdiv_ = torch._foreach_addcdiv_
foreach_addcmul_ = torch._foreach_addcmul_
foreach_clamp_max_ = torch._foreach_clamp_max_
foreach_clamp_min_ = torch._foreach_clamp_min_
foreach_copy_ = torch._foreach_copy_
foreach_div = torch._foreach_div
foreach_div_ = torch._foreach_div_
foreach_lerp = torch._foreach_lerp
foreach_lerp_ = torch._foreach_lerp_
foreach_mul = torch._foreach_mul
foreach_mul_ = torch._foreach_mul_
foreach_norm = torch._foreach_norm
foreach_sign = torch._foreach_sign
foreach_sign_ = torch._foreach_sign_
foreach_sqrt = torch._foreach_sqrt
foreach_sqrt_ = torch._foreach_sqrt_
foreach_sub = torch._foreach_sub

PYTREE_LOG = "torch.utils._pytree"
"""Where torch says that a type of a library was registered twice."""


def dispatch_mode() -> type[Any]:
    """The base of what sees each operation of torch, without the second that its first use takes otherwise.

    By default it imports torch._dynamo and sympy, to tell a compiler of itself; nothing here is compiled.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

    return Mode


def mps_generator() -> torch.Generator:
    """The generator that torch's functions draw from on Apple's GPUs."""
    found: torch.Generator = torch.mps._get_default_mps_generator()
    return found


def in_backward() -> bool:
    """Whether this thread is in a backward pass."""
    return bool(torch._C._current_graph_task_id() != -1)


def original_module(model: torch.nn.Module) -> torch.nn.Module | None:
    """What torch.compile(model) was made of; None for what it did not make."""
    found = model._modules.get("_orig_mod")
    return found if isinstance(found, torch.nn.Module) else None


def compiled_modules(model: torch.nn.Module) -> list[str]:
    """The names of the modules that torch.compile has compiled, in place or as a copy."""
    return [
        name
        for name, module in model.named_modules()
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
    ]


def is_unscaled(scaler: Any) -> bool:
    """Whether a torch.amp.GradScaler has divided the gradients of this step by its factor already."""
    states = getattr(scaler, "_per_optimizer_states", {})
    return any(state["stage"].name != "READY" for state in states.values())


def compiler_is_here() -> bool:
    """Whether torch's compiler has been imported, without which nothing is compiled."""
    return "torch._dynamo" in sys.modules
