"""The table of what adding one of each kind touches holds: every kind is there, and so are its base and its test."""

from __future__ import annotations

import re
from pathlib import Path

import fanin
from fanin.catalogue import GROUPS, PARTS
from fanin.targets import classes

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "CONTRIBUTING.md").read_text().partition("test_contributing.py -->")[2].splitlines()[3:]
]
TABLE = {row[0].strip("`"): row[1:] for row in ROWS[: next(place for place, row in enumerate(ROWS) if len(row) < 4)]}


def test_every_group_of_parts_has_a_row() -> None:
    assert [kind for kind in TABLE if kind in GROUPS] == [
        group for group in PARTS if group not in ("evaluation", "trainer")
    ]


def test_the_named_bases_are_those_of_the_group() -> None:
    for kind in TABLE.keys() & GROUPS.keys():
        named = re.findall(r"`(?:torch\.\w+\.)?([A-Z]\w+)`", TABLE[kind][0])
        base = classes(*GROUPS[kind].bases)[0]
        found = [base if name == base.__name__ else getattr(fanin, name) for name in named if name != "Dataset"]
        assert found
        assert all(issubclass(one, base) for one in found), kind


def test_each_kind_is_added_by_the_test_that_its_row_names() -> None:
    for kind, (_, _, test) in TABLE.items():
        text = (ROOT / test.strip("`")).read_text()
        word = f'"{kind}/' if kind in GROUPS and kind != "regularizer" else kind.rpartition(" ")[2]
        assert word in text, kind
