"""`fanin GROUP=OPTION --schema`: the JSON schema of an option's YAML, for editors; a user's own as well."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from fanin.api.application import prepare_process
from fanin.api.option_files import comments_of, option_files, user_folders
from fanin.catalogue import GROUPS, config_folder
from fanin.errors import OptionError, UserError, did_you_mean


def schema_text(arguments: Sequence[str]) -> str:
    """The schema of the one option that is typed; of an experiment that of all of them.

    Raises:
        UserError: no option is typed or more than one, it is not there, or its `_target_` is none of its group.
    """
    asked = [argument.partition("=") for argument in arguments if not argument.startswith("-") and "=" in argument]
    asked = [one for one in asked if one[0] in GROUPS]
    if len(asked) != 1:
        raise UserError("--schema: needs one option, as fanin optimizer=adam --schema")
    group, _, name = asked[0]
    files = option_files([config_folder(), *user_folders(arguments)], group)
    if name not in files:
        raise OptionError(group, name, f"one of {', '.join(sorted(files))}", did_you_mean(name, files))
    if not GROUPS[group].bases:
        return (config_folder().parent / "schemas" / "config.json").read_text(encoding="utf-8").rstrip()
    text = files[name].read_text(encoding="utf-8")
    prepare_process()  # a module of the user's own may lie in this folder

    from fanin.run.option_schema import option_schema

    return json.dumps(option_schema(group, yaml.safe_load(text) or {}, comments_of(text)), indent=1, ensure_ascii=False)
