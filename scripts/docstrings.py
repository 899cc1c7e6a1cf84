"""Docstrings as a reader of the reference needs them: what an option does, its formulas typeset, what its keys mean."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from formulas import typeset

SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Example|Examples):\n|^(?=>>>)", re.MULTILINE)
SEEN = re.compile(r"(?:; | \()see ((?:`\w+`)(?:(?:,|\s+and)\s+`\w+`)*)\)?")
"""A docstring that leaves something to that of another class or function."""


def told(target: Any, named: dict[str, str]) -> str:
    """A class's or a function's docstring as Markdown, without its arguments; with those that it says to see.

    Args:
        target: what it is of.
        named: names of classes that are options, with the names of these.
    """
    return markdown("\n\n".join(_with_those_seen(target)), named)


def markdown(text: str, named: dict[str, str]) -> str:
    """Plain text as Markdown: formulas typeset, classes of options by the options' names."""
    text = re.sub(r"(?m)^((?! *- ).*\S.*)\n(?= *- )", r"\1\n\n", typeset(text))  # a list begins after an empty line
    text = re.sub(r"(?m)^ +(?=- )", "", text)
    text = re.sub(r"(?<!`)<(?=[a-z]+>)", "&lt;", text)  # linear_<depth> is no tag
    several = [name for name in named if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", name)]
    text = re.sub(r"`(\w+)`", lambda found: f"`{named.get(found[1], found[1])}`", text)
    pattern = rf"(?<![`.\w])({'|'.join(several)})(?![`\w])"
    return re.sub(pattern, lambda found: f"`{named[found[1]]}`", text) if several else text


def arguments(target: Any) -> dict[str, str]:
    """What the docstring of a class, or of one that it derives from, says of each argument."""
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(target)) if inspect.isclass(target) else [target]:
        text = inspect.cleandoc(one.__doc__ or "")
        if match := re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE):
            items = re.split(r"\n(?=\w)", inspect.cleandoc(match[1]))
            for names, _, words in (item.partition(": ") for item in items):
                found |= {name: " ".join(words.split()) for name in re.findall(r"\w+", names)}
    return found


def _with_those_seen(target: Any) -> list[str]:
    """The text of a docstring, and of those in its module that it says to see."""
    body, others = SECTION.split(inspect.getdoc(target) or "")[0].strip(), list[Any]()

    def follow(found: re.Match[str]) -> str:
        named = [getattr(sys.modules[target.__module__], name, None) for name in re.findall(r"`(\w+)`", found[1])]
        others.extend(named if all(named) else [])
        return "" if all(named) else found[0]

    return [SEEN.sub(follow, body), *(text for other in others for text in _with_those_seen(other))]
