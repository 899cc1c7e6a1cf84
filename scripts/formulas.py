"""Formulas of docstrings as LaTeX: they stand between dollars, in the plain notation that `help()` shows.

The notation is that of paper and ASCII: `$theta <- theta - a m/(1 - beta1^t)$`, names of Greek letters, `sqrt(x)`,
`sum_(i=1)^n`, `W^T`, `||x||_2`, `<=`. A product is a space, `a/b` a fraction of the two things beside the stroke.
"""

from __future__ import annotations

import re

SMALL = "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|chi|psi|omega"
GREEK = re.compile(rf"{SMALL}|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega")
FUNCTIONS = ("exp", "ln", "log", "sin", "cos", "tanh")
CALLED = ("max", "min")
"""Functions where they are called, and else names of keys."""
SYMBOLS = {
    "<-": r"\leftarrow", "->": r"\to", "<=": r"\le", ">=": r"\ge", "!=": r"\ne", "~": r"\sim", "*": r"\cdot",
    "...": r"\dots", "+-": r"\pm", "<": r"\lt", ">": r"\gt", "{": r"\lbrace", "}": r"\rbrace",
}  # fmt: skip
NAMED = {"eps": r"\varepsilon", "E": r"\mathrm{E}", "in": r"\in", "sum": r"\sum", "prod": r"\prod", "perp": r"\perp"}
TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?)|(?P<star>(?<=\w)\*(?![\w(]))|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>\.\.\.|\|\||<-|->|<=|>=|!=|\+-|.)"
)
OPERATORS = {*SYMBOLS.values(), r"\in", *"+-=,;:/'"}
PAIRS = {"(": ")", "[": "]", "|": "|", "||": "||"}
FENCES = {"|": (r"\lvert ", r"\rvert"), "||": (r"\lVert ", r"\rVert"), "(": ("(", ")"), "[": ("[", "]")}


def typeset(text: str) -> str:
    """A text whose formulas, between dollars and in plain notation, have become LaTeX; code in backticks stays.

    >>> typeset("so that $a/2 <= rho$")
    'so that $\\\\frac{a}{2} \\\\le \\\\rho$'
    """
    return re.sub(
        r"`[^`]*`|\$([^$]+)\$", lambda found: f"${latex(found[1])}$" if found[1] else found[0], text, flags=re.DOTALL
    )


def latex(plain: str) -> str:
    """One formula in LaTeX.

    Raises:
        ValueError: a bracket without its partner.

    >>> latex("v <- rho v + (1 - rho) g^2")
    'v \\\\leftarrow \\\\rho v + (1 - \\\\rho) g^{2}'
    """
    return _Reader(plain).sequence("")


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.tokens = [(found.lastgroup or "", found.group()) for found in TOKEN.finditer(plain)]
        self.place = 0

    def sequence(self, end: str, *, flat: bool = False) -> str:
        """Everything up to a closing bracket; `flat` has strokes instead of fractions."""
        parts: list[str] = []
        while self._kind():
            if self._text() == end:
                return _joined(parts)
            if self._kind() == "space":
                self.place += 1
                continue
            unit, bare = self._unit(flat)
            while not flat and self._skip_to("/"):
                unit = bare = rf"\frac{{{bare}}}{{{self._unit(flat)[1]}}}"
            parts.append(unit)
        if end:
            raise ValueError(f"{self.plain}: {end} is missing")
        return _joined(parts)

    def _unit(self, flat: bool) -> tuple[str, str]:
        """A thing with all that hangs on it, and the same without the parentheses around it."""
        while self._kind() == "space":
            self.place += 1
        kind, text = self._kind(), self._text()
        self.place += 1
        if text == "sqrt":
            while self._kind() == "space":
                self.place += 1
            made = rf"\sqrt{{{self._unit_without_scripts(flat)}}}"
        elif text in PAIRS:
            inside = self.sequence(PAIRS[text], flat=flat)
            self.place += 1
            left, right = FENCES[text]
            made = f"{left}{inside}{right}"
            if text == "(" and self._text() not in ("_", "^", "'"):
                return made, inside
        elif kind == "name":
            made = self._name(text)
        elif kind == "number":
            made = _number(text)
        else:
            return SYMBOLS.get(text, text), SYMBOLS.get(text, text)
        made += self._scripts()
        if kind == "name" and text != "sqrt" and self._text() == "(":  # a function of what follows at once
            self.place += 1
            made += f"({self.sequence(')', flat=flat)})"
            self.place += 1
            made += self._scripts()
        return made, made

    def _unit_without_scripts(self, flat: bool) -> str:
        """What a root is of: what is in brackets, or one name or number."""
        kind, text = self._kind(), self._text()
        self.place += 1
        if text == "(":
            inside = self.sequence(")", flat=flat)
            self.place += 1
            return inside
        return self._name(text) if kind == "name" else _number(text)

    def _scripts(self) -> str:
        """Subscripts, exponents, primes and stars."""
        made = ""
        while self._text() in ("_", "^", "'") or self._kind() == "star":
            sign = self._text()
            self.place += 1
            if self._kind(-1) == "star":
                made += r"^{\ast}"
            elif sign == "'":
                made += "'"
            else:
                made += f"{sign}{{{self._script(sign)}}}"
        return made

    def _script(self, sign: str) -> str:
        """What is below or above: a bracket's content, or one name or number with its sign."""
        minus = ""
        if self._text() == "-":
            minus, self.place = "-", self.place + 1
        kind, text = self._kind(), self._text()
        self.place += 1
        if text == "(":
            inside = self.sequence(")", flat=True)
            self.place += 1
            return minus + inside
        if kind == "number":
            return minus + _number(text)
        if sign == "^":
            return minus + (r"\top" if text == "T" else self._name(text) + self._scripts())
        more = self._text() if self._kind() == "number" else ""  # the index b1 of s_b1
        self.place += bool(more)
        if GREEK.fullmatch(text) or (text in NAMED and text not in ("in", "E")):
            return minus + self._name(text) + more
        inner = f"_{{{self._script('_')}}}" if self._text() == "_" and self._skip_to("_") else ""
        return minus + (rf"\mathrm{{{text}}}" if len(text) > 2 or text == "in" else text) + more + inner

    def _name(self, text: str) -> str:
        """A Greek letter, a function, a letter, or a word upright; digits that follow at once are its index."""
        called = self._text() == "("
        if GREEK.fullmatch(text) or text in FUNCTIONS or (text in CALLED and called):
            made = rf"\{text}"
        elif text in NAMED:
            made = NAMED[text]
        elif len(text) == 1 or re.fullmatch("d[a-z]", text):  # a letter, or the differential of one
            made = text
        else:
            made = rf"\mathrm{{{text}}}"
        if self._kind() == "number":
            made += f"_{{{self._text()}}}"
            self.place += 1
        return made

    def _kind(self, ahead: int = 0) -> str:
        at = self.place + ahead
        return self.tokens[at][0] if at < len(self.tokens) else ""

    def _text(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def _skip_to(self, sign: str) -> bool:
        """Whether this sign comes next, spaces aside; it is read then."""
        at = self.place + (self._kind() == "space")
        if at < len(self.tokens) and self.tokens[at][1] == sign:
            self.place = at + 1
            return True
        return False


def _number(text: str) -> str:
    """A number, powers of ten written out."""
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    power = f"10^{{{exponent}}}"
    return power if mantissa == "1" else rf"{mantissa} \times {power}"


def _joined(parts: list[str]) -> str:
    """Parts side by side, a little apart where one of two factors is a word; no space before a comma."""
    made, last = "", ""
    for part in parts:
        factors = bool(last) and not {last, part} & OPERATORS
        if factors and (r"\mathrm{" in last or part.startswith(r"\mathrm{")):
            made += r" \thinspace"
        made += part if part in (",", ";", ":") else f" {part}" if made else part
        last = part
    return made
