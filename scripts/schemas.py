"""The JSON schemas of conf/, and the line on top of each YAML that shows editors where its schema lies.

They lie in schemas/, which a wheel has beside conf/ as a checkout does, so that one relative path leads there in both.
`make reference` writes them with the rest of the reference.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import yaml

from fanin.api.option_files import comments_of
from fanin.catalogue import GROUPS, config_folder
from fanin.run.config_schema import config_schema, typed_by_values
from fanin.run.option_schema import DRAFT, Schema, option_schema

SCHEMAS = config_folder().parent / "schemas"

LINE = "# yaml-language-server: $schema="


def contents() -> dict[Path, str]:
    """Every schema by its file, and every YAML with the line on top that names its schema."""
    conf = config_folder()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(conf.rglob("*.yaml"))}
    made: dict[str, dict[str, Schema]] = {group: {} for group in GROUPS if GROUPS[group].bases}
    files: dict[Path, Schema] = {}
    lies: dict[Path, Path] = {}
    for path, text in texts.items():
        inside = path.relative_to(conf)
        group, node = inside.parent.as_posix(), yaml.safe_load(text) or {}
        lies[path] = SCHEMAS / "config.json"
        if group in made:
            made[group][path.stem] = option_schema(group, node, comments_of(text))
            lies[path] = SCHEMAS / inside.with_suffix(".json")
            files[lies[path]] = made[group][path.stem]
        elif group.startswith("hydra/"):
            lies[path] = SCHEMAS / inside.with_suffix(".json")
            title = f"an option of {group}, as the plugin has it"
            files[lies[path]] = {"$schema": DRAFT, "title": title, **typed_by_values(node, comments_of(text))}
    files[SCHEMAS / "config.json"] = config_schema(made)
    written = {path: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for path, schema in files.items()}
    headed = {path: _headed(text, os.path.relpath(lies[path], path.parent)) for path, text in texts.items()}
    return written | headed


def _headed(text: str, schema: str) -> str:
    """A YAML with the line of its schema on top."""
    bare = re.sub(rf"{re.escape(LINE)}.*\n", "", text)
    package, body = re.match(r"(# @package [^\n]*\n)?(.*)", bare, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{package or ''}{LINE}{Path(schema).as_posix()}\n{body}"  # Hydra looks for the package in the first line


def unknown(known: dict[Path, str]) -> list[Path]:
    """Schemas of options that are no more."""
    return sorted(set(SCHEMAS.rglob("*.json")) - known.keys())
