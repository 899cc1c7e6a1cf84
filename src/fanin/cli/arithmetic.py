"""Arithmetic in configurations: a learning rate that follows from a condition number, say."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

OPERATIONS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[[float], float]] = {"sqrt": math.sqrt, "exp": math.exp, "log": math.log}


def compute(formula: str) -> float:
    """The value of a formula made of numbers, + - * / **, parentheses, sqrt, exp and log (natural).

    Raises:
        ValueError: it is something else, or has no finite value.

    >>> compute("2 / (1 + 49)"), compute("((sqrt(9) - 1) / (sqrt(9) + 1)) ** 2")
    (0.04, 0.25)
    """
    try:
        value = float(_value(ast.parse(formula.strip(), mode="eval").body))
    except (SyntaxError, ArithmeticError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot compute {formula!r}: {error or type(error).__name__}") from None
    if not math.isfinite(value):
        raise ValueError(f"cannot compute {formula!r}: it comes to {value}")
    return value


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp():
            return OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
        case ast.UnaryOp():
            return OPERATIONS[type(node.op)](_value(node.operand))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            return FUNCTIONS[name](_value(argument))
    raise ValueError(f"{ast.unparse(node)} is no number, sum, product, power or function of {', '.join(FUNCTIONS)}")
