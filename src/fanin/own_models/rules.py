"""Which law each parameter of a model is declared to follow: torch's defaults, well-known laws by name, patterns."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import Tensor, nn

from fanin.errors import UserError, did_you_mean, shortened
from fanin.own_models.weight_laws import Law
from fanin.parts.models.layers import PLAIN, TRANSPOSED, fans

Rules = str | Law | Mapping[str, Any]

PROJECTIONS = ("*.c_proj.weight", "*.o_proj.weight", "*.out_proj.weight", "*.down_proj.weight")
"""What ends a residual branch, by the names that language models give it."""


class Parameter(NamedTuple):
    """A parameter where it stands.

    Args:
        names: its qualified names; several where it is shared.
        tensor: itself.
        module: what owns it.
        attribute: its name there.
    """

    names: tuple[str, ...]
    tensor: Tensor
    module: nn.Module
    attribute: str


def parameters_of(model: nn.Module) -> list[Parameter]:
    """All parameters, each once."""
    found: dict[int, Parameter] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for attribute, tensor in module.named_parameters(recurse=False):
            name = f"{prefix}.{attribute}".lstrip(".")
            known = found.get(id(tensor))
            if known is None:
                found[id(tensor)] = Parameter((name,), tensor, module, attribute)
            elif name not in known.names:
                found[id(tensor)] = known._replace(names=(*known.names, name))
    return list(found.values())


def laws_of(parameters: Sequence[Parameter], rules: Rules) -> list[tuple[Law, ...]]:
    """For each parameter the laws that it may follow, none where nothing is declared.

    Raises:
        UserError: a rule that is not known, or a pattern that no parameter matches.
    """
    if not isinstance(rules, Mapping):
        return [_whole(one, rules, parameters) for one in parameters]
    for pattern in rules:
        names = [name for one in parameters for name in one.names]
        if not any(fnmatchcase(name, str(pattern)) for name in names):
            there = did_you_mean(str(pattern), names) or f"there are {shortened(', '.join(names))}"
            raise UserError(f"rules: no parameter matches {pattern}; {there}")
    found = []
    for one in parameters:
        matching = (rule for pattern, rule in rules.items() if any(fnmatchcase(name, pattern) for name in one.names))
        rule = next(matching, None)
        found.append(() if rule is None else _declared(one, rule, parameters))
    return found


def _whole(one: Parameter, rule: Any, parameters: Sequence[Parameter]) -> tuple[Law, ...]:
    """A rule for a whole model speaks of matrices and kernels; biases are 0 or torch's default, the rest is torch's."""
    name = rule.name if isinstance(rule, Law) else _parsed(rule)[0]
    embedding = isinstance(one.module, (nn.Embedding, nn.EmbeddingBag))
    if name in MODEL_RULES or (one.tensor.ndim >= 2 and not embedding):
        return _declared(one, rule, parameters)
    default = torch_default(one)
    normal = one.attribute == "bias" and isinstance(one.module, (nn.Linear, *PLAIN, *TRANSPOSED))
    return (*default, Law("zeros", "constant")) if normal else default


def _declared(one: Parameter, rule: Any, parameters: Sequence[Parameter]) -> tuple[Law, ...]:
    if isinstance(rule, Law):
        return (rule,)
    name, settings = _parsed(rule)
    try:
        if name in MODEL_RULES:
            return MODEL_RULES[name](one, parameters, **settings)
        return (LAWS[name](str(rule), one, **settings),)
    except TypeError as error:
        raise UserError(f"rules: {rule}: {str(error).partition(')')[2].strip() or error}") from None
    except ValueError as error:
        raise UserError(f"rules: {rule} for {one.names[0]}: {error}") from None


def _parsed(rule: object) -> tuple[str, dict[str, Any]]:
    """ "kaiming_normal(mode='fan_out')" or "std 0.02" as a name and settings."""
    text = str(rule).strip()
    if short := re.fullmatch(r"std\s*=?\s*([0-9.eE+-]+)", text):
        return "normal", {"std": float(short[1])}
    try:
        tree = ast.parse(text, mode="eval").body
        name = ast.unparse(tree.func) if isinstance(tree, ast.Call) else text
        keys = tree.keywords if isinstance(tree, ast.Call) and not tree.args else []
        settings = {str(key.arg): ast.literal_eval(key.value) for key in keys}
    except (SyntaxError, ValueError):
        name, settings = text, {}
    name = name.removeprefix("nn.init.").rstrip("_")
    if name not in LAWS and name not in MODEL_RULES:
        known = [*MODEL_RULES, *LAWS]
        raise UserError(
            f"rules: {text} is no law; there are {', '.join(known)}, std 0.02"
            + (f"; {hint}" if (hint := did_you_mean(name, known)) else "")
        )
    return name, settings


def _kaiming(kind: str) -> Callable[..., Law]:
    def law(name: str, one: Parameter, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Law:
        if mode not in ("fan_in", "fan_out"):
            raise ValueError("mode is fan_in or fan_out")
        std = nn.init.calculate_gain(nonlinearity, a) / math.sqrt(fans(one.tensor)[mode == "fan_out"])  # type: ignore[arg-type]
        return _centred(name, kind, std)

    return law


def _xavier(kind: str) -> Callable[..., Law]:
    return lambda name, one, gain=1.0: _centred(name, kind, gain * math.sqrt(2 / sum(fans(one.tensor))))


def _lecun(kind: str) -> Callable[..., Law]:
    return lambda name, one: _centred(name, kind, 1 / math.sqrt(fans(one.tensor)[0]))


def _centred(name: str, kind: str, std: float) -> Law:
    return Law(name, "normal", std) if kind == "normal" else Law(name, "uniform", math.sqrt(3) * std)


def _uniform(name: str, one: Parameter, a: float = 0.0, b: float = 1.0) -> Law:
    return Law(name, "uniform", (b - a) / 2, (a + b) / 2)


def _truncated(name: str, one: Parameter, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Law:
    return Law(name, "truncated_normal", std, mean, a, b)


LAWS: dict[str, Callable[..., Law]] = {
    "kaiming_normal": _kaiming("normal"),
    "kaiming_uniform": _kaiming("uniform"),
    "xavier_normal": _xavier("normal"),
    "xavier_uniform": _xavier("uniform"),
    "lecun_normal": _lecun("normal"),
    "lecun_uniform": _lecun("uniform"),
    "orthogonal": lambda name, one, gain=1.0: Law(name, "orthogonal", gain),
    "normal": lambda name, one, mean=0.0, std=1.0: Law(name, "normal", std, mean),
    "uniform": _uniform,
    "trunc_normal": _truncated,
    "truncated_normal": _truncated,
    "zeros": lambda name, one: Law(name, "constant"),
    "ones": lambda name, one: Law(name, "constant", mean=1.0),
    "constant": lambda name, one, val=0.0: Law(name, "constant", mean=float(val)),
}
"""Laws by their names in torch.nn.init, whose settings they take; lecun_* have variance 1/fan_in."""


def torch_default(one: Parameter, parameters: Sequence[Parameter] = ()) -> tuple[Law, ...]:
    """What torch draws a parameter of its own layers from; none for other modules.

    Source: the methods reset_parameters of torch.nn, 2.11.
    """
    module, weight, name = one.module, one.attribute.startswith("weight"), "torch_default"
    if isinstance(module, (nn.Linear, nn.Bilinear, *PLAIN, *TRANSPOSED)):
        shape = module.weight.shape
        inputs = shape[1] if isinstance(module, nn.Bilinear) else math.prod(shape[1:])
        laws = (Law(name, "uniform", 1 / math.sqrt(inputs)),)
        # That of attention's last projection is 0.
        return (*laws, Law(name, "constant")) if one.names[0].endswith("out_proj.bias") else laws
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return (Law(name, "normal", 1.0),)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return (Law(name, "uniform", 1 / math.sqrt(module.hidden_size)),)
    if isinstance(module, nn.MultiheadAttention):
        if one.attribute == "in_proj_bias":
            return (Law(name, "constant"),)
        std = math.sqrt(2 / sum(fans(one.tensor)))
        return (
            Law(name, "normal", std) if one.attribute.startswith("bias_") else Law(name, "uniform", math.sqrt(3) * std),
        )
    if isinstance(module, nn.PReLU):
        return (Law(name, "constant", mean=0.25),)
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)) or hasattr(module, "running_mean"):
        return (Law(name, "constant", mean=1.0 if weight else 0.0),)
    return ()


def gpt2(
    one: Parameter, parameters: Sequence[Parameter], std: float = 0.02, projections: Sequence[str] = PROJECTIONS
) -> tuple[Law, ...]:
    """GPT-2: N(0, std^2), 0 for biases, and N(0, std^2 / N) for the N = 2L matrices that end a residual branch.

    Source: Radford et al. 2019, section 2.3.
    """

    def ends(other: Parameter) -> bool:
        named = (fnmatchcase(name, pattern) for name in other.names for pattern in projections)
        return other.tensor.ndim >= 2 and any(named)

    if one.tensor.ndim < 2:
        return torch_default(one) if one.attribute != "bias" else (Law("gpt2", "constant"),)
    if not ends(one):
        return (Law("gpt2", "normal", std),)
    count = sum(map(ends, parameters))
    return (Law(f"gpt2, {std:g}/sqrt({count})", "normal", std / math.sqrt(count)),)


MODEL_RULES: dict[str, Callable[..., tuple[Law, ...]]] = {"torch_default": torch_default, "gpt2": gpt2}
"""Rules that speak of every parameter of a model."""
