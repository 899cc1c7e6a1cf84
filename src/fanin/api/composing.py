"""Overrides as a configuration, from Python: read, refused in one line, composed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import OptionError, UserError, shortened

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from fanin.run.hydra_private import App

Folder = str | os.PathLike[str]

KEYWORDS = {
    "hydra.run.dir": "folder=DIR",
    "hydra.sweep.dir": "folder=DIR",
    "hydra/launcher": "launcher=NAME of fanin.sweep",
}
"""Hydra's own keys for which there is an argument."""


def compose(overrides: Sequence[str] = (), *, config_dir: Folder | None = None) -> DictConfig:
    """The configuration of a run, every interpolation resolved; nothing is run, and its values are not checked yet.

    Args:
        overrides: as on the command line, a word each.
        config_dir: a folder of option files of your own, GROUP/OPTION.yaml.

    Raises:
        UserError: an option or a key that is not there, a word that cannot be read.

    >>> compose(["model.depth=20", "optimizer=adam"]).model.depth
    20
    """
    from omegaconf import OmegaConf

    from fanin.api.host import guest

    words = words_of(overrides)
    with guest(), opened(words, config_dir) as app:
        from fanin.run.identity import without_hydra

        resolved = OmegaConf.to_container(without_hydra(composed(app, words)), resolve=True)
    made = OmegaConf.create(resolved)
    OmegaConf.set_struct(made, True)
    assert OmegaConf.is_dict(made)
    return made  # type: ignore[return-value]


def words_of(overrides: Sequence[str], *, grid: bool = False) -> list[str]:
    """The overrides as a list of words.

    Args:
        overrides: what a caller gave.
        grid: whether they are a grid's, which has several values and follows more of Hydra's own keys.

    Raises:
        UserError: they are no list of words, or one of them cannot be meant.
    """
    given: Any = overrides
    if isinstance(given, str):
        raise UserError(f'overrides={given!r}: must be a list of words; type ["{shortened(given)}"]')
    if isinstance(given, dict) or not hasattr(given, "__iter__"):
        raise UserError(f'overrides={given!r}: must be a list of words, such as ["model.depth=20", "optimizer=adam"]')
    words = list(given)
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"overrides: {word!r} must be a word KEY=VALUE or GROUP=OPTION")
        key = word.lstrip("+~").partition("=")[0]
        if key in KEYWORDS:
            raise UserError(f"{word}: from Python it is {KEYWORDS[key]}")
        followed = ("hydra.launcher.", "hydra.sweeper.", "hydra/sweeper", "hydra.searchpath")
        if key.startswith("hydra") and not (grid and key.startswith(followed)) and key != "hydra.searchpath":
            raise UserError(f"{word}: Hydra's own keys are the command line's; the host's process stays as it is")
    return words


def folder_of(name: str, folder: Folder | None) -> Path | None:
    """A folder that a caller gave.

    Raises:
        OptionError: it is none.
    """
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise OptionError(name, repr(folder), "the path of a folder")
    return Path(folder)


@contextmanager
def opened(words: Sequence[str], config_dir: Folder | None) -> Iterator[App]:
    """Hydra's application while the block runs; whatever is wrong with the words leaves it as one line.

    Raises:
        UserError: a line for each mistake.
    """
    from fanin.api.application import application
    from fanin.api.hydra_errors import one_line
    from fanin.run.identity import forget_bases

    more = folder_of("config_dir", config_dir)
    if more is not None and not more.is_dir():
        raise OptionError("config_dir", more, "a folder of option files, GROUP/OPTION.yaml")
    typed = [*([f"--config-dir={more}"] if more else []), *words]
    own = more is not None or any(word.lstrip("+").startswith("hydra.searchpath") for word in words)
    with ExitStack() as undo:
        if own:  # what the process knows is of other files, and these may change
            forget_bases()
            undo.callback(forget_bases)
        app = undo.enter_context(application(more=more))
        try:
            yield app
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                one_line(error, typed).removesuffix("; HYDRA_FULL_ERROR=1 shows where it comes from")
            ) from error


def composed(app: App, words: Sequence[str]) -> DictConfig:
    """The configuration of a single run, with its hydra node.

    Raises:
        UserError: several values for a key.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    from fanin.api.overrides import overrides_of

    told = overrides_of(words, [])
    parser = OverridesParser.create()
    for word, override in zip(told, parser.parse_overrides(told), strict=True):
        if override.is_sweep_override():
            raise UserError(f"{word}: several values make a grid; fanin.sweep runs one")
    cfg = app.compose_config("config", [*told, "hydra.mode=RUN"], RunMode.RUN)
    HydraConfig.instance().set_config(cfg)  # ${hydra:...} in what is checked
    return cfg
