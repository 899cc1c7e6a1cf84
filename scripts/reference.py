"""The generated reference: a page for each group, the table of all groups, and a page for the files of a run.

`make reference` writes them from the YAML of conf/ and the docstrings of what it names; with --check nothing is
written, and what is not current makes the command fail.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from fanin.catalogue import GROUPS, config_folder
from fanin.cli.help import description
from fanin.record import columns
from fanin.targets import find

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
FILES = ROOT / "docs" / "files.md"


def main() -> int:
    """Write all pages, or check that they are current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is not current")
    check = parser.parse_args().check
    stale = [path for path, text in contents().items() if not path.is_file() or path.read_text() != text]
    unknown = sorted(set(PAGES.glob("*.md")) - contents().keys()) if PAGES.is_dir() else []
    for path in (*stale, *unknown):
        print(f"{path.relative_to(ROOT)}: not current; make reference" if check else path.relative_to(ROOT))
    if check:
        return 1 if stale or unknown else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents()[path])
    for path in unknown:
        path.unlink()
    return 0


def contents() -> dict[Path, str]:
    """Every file that this script writes, with its text."""
    pages = {PAGES / f"{group}.md": page(group) for group in groups()}
    return pages | {PAGES / "index.md": table(), FILES: files()}


def groups() -> list[str]:
    """The groups of conf/ in the order of fanin --help."""
    return [group for group in GROUPS if (config_folder() / group).is_dir()]


def options(group: str) -> list[Path]:
    """The YAML files of a group."""
    return sorted((config_folder() / group).glob("*.yaml"))


def table() -> str:
    """The table of all groups, with the number of options of each."""
    lines = ["# Reference\n", "Each group links to its page: formulas, keys, sources. Written by `make reference`.\n"]
    lines += ["| group | | options | |", "|---|---|---|---|"]
    total = 0
    for group in groups():
        names = [path.stem for path in options(group)]
        total += len(names)
        told = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| [`{group}`]({group}.md) | {len(names)} | {told} | {GROUPS[group].words} |")
    lines.append(f"| {len(groups())} groups | {total} | | |")
    return "\n".join(lines) + "\n"


def files() -> str:
    """The page of every file's columns and keys, with their units."""
    parts = [
        "# The files of a run and of a grid\n",
        "Written by `make reference` from `src/fanin/record/columns.py`, which is what both training and reports read.",
        "An empty cell of a CSV file, and null in JSON, is a number that does not apply; one that is not finite is",
        "`nan`, `inf` or `-inf`.\n",
        "## States\n",
        "A run's `state`, in `status.json`, `result.json` and `summary.csv`:\n",
        "| state | meaning |\n|---|---|",
        *(f"| `{state}` | {meaning} |" for state, meaning in columns.STATES.items()),
    ]
    for name, listed, words in TABLES:
        parts += [f"\n## {name}\n", *([f"{words}\n"] if words else []), "| name | meaning | unit |\n|---|---|---|"]
        parts += [f"| `{one.name}` | {one.meaning} | {one.unit} |" for one in listed]
    return "\n".join(parts) + "\n"


TABLES = (
    ("`status.json`", columns.STATUS, "Written again and again while a run is on its way."),
    ("`metrics.csv`", columns.METRICS, "A row for each logged step, and one of the end."),
    ("`profiles.csv`", columns.PROFILES, "A row for each snapshot, layer and quantity."),
    ("`trajectory.csv`", columns.TRAJECTORY, "With `probe.trajectory=true`."),
    ("`result.json`", columns.RESULT, "Written last: a folder that has it is complete."),
    ("`result.json`: `metrics`", columns.FINAL, ""),
    ("`result.json`: `init`", columns.INIT + columns.INIT_WORDS + columns.INIT_MORE, ""),
    (
        "`summary.csv`",
        columns.SUMMARY_FIRST + columns.SUMMARY_LAST,
        "A row for each run of a grid; after the first four, a column for every key that varies, its seed last.",
    ),
)


def page(group: str) -> str:
    """The page of a group."""
    parts = [f"# {group}: {GROUPS[group].words}\n", f"{len(options(group))} options; written by `make reference`.\n"]
    for path in options(group):
        text = path.read_text()
        keys = "".join(f"{line}\n" for line in text.splitlines() if not re.match(r"#|\s*_partial_", line))
        typed = f"{group}=[{path.stem}]" if GROUPS[group].several else f"{group}={path.stem}"
        parts.append(f"## `{typed}`\n")
        parts.append(f"{description(path)}\n")
        parts += [f"```yaml\n{keys.strip()}\n```\n"] if keys.strip(" {}\n") else []
        parts += [f"{told(target)}\n" for target in targets(yaml.safe_load(text))]
    return "\n".join(parts)


def targets(node: object) -> Iterator[str]:
    """Every `_target_` in a YAML."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from targets(value)


def told(target: str) -> str:
    """A target's docstring as Markdown: its sentence, its formulas as they stand, its arguments as a list."""
    text = inspect.getdoc(find(target)) or ""
    body, *sections = re.split(r"^(Args|Returns|Raises|Attributes):\n", text, flags=re.MULTILINE)
    sentence, _, formulas = body.strip().partition("\n\n")
    parts = [f"`{target}`", sentence]
    if formulas.strip():
        parts.append(f"```text\n{formulas.strip()}\n```")
    for name, listing in zip(sections[::2], sections[1::2], strict=True):
        indented, _, rest = re.sub(r"\n(?=\S)", "\0", listing, count=1).partition("\0")
        items = re.sub(r"\n\s{5,}", " ", inspect.cleandoc(indented)).splitlines()
        parts.append(f"*{name}*\n\n" + "\n".join(_item(item) for item in re.split(r"\n(?=\S)", _joined(items))))
        parts += [f"```text\n{rest.strip()}\n```"] if rest.strip() else []
    return "\n\n".join(parts)


def _joined(lines: list[str]) -> str:
    """Lines of a docstring's section, each item on one line."""
    items: list[str] = []
    for line in lines:
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        elif line.strip():
            items.append(line.strip())
    return "\n".join(items)


def _item(line: str) -> str:
    name, colon, rest = line.partition(": ")
    return f"- `{name}`: {rest}" if colon else f"- {line}"


if __name__ == "__main__":
    sys.exit(main())
