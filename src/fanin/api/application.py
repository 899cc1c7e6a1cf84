"""What composes configurations: Hydra's application over fanin's option files, for commands and from Python."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.catalogue import config_folder

if TYPE_CHECKING:
    from fanin.run.hydra_private import App


def prepare_process() -> None:
    """What every process needs that composes configurations: resolvers, the user's own modules, some silence."""
    from fanin.api.resolvers import register_resolvers

    register_resolvers()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # where a user's own my_module.Net lies
    warnings.filterwarnings("error", r"provider=hydra\.searchpath .* is not available")
    # Hydra checks conf/hydra/launcher/NAME.yaml against the plugin's own entry of that name, which is what we want.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


@contextmanager
def application(conf: Path | None = None, more: Path | None = None) -> Iterator[App]:
    """Hydra's application, Hydra's one of this process while the block runs.

    Args:
        conf: the folder of the configuration; None for fanin's own.
        more: a folder of the user's own option files, which come before those.
    """
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from fanin.run.hydra_private import new_app

    prepare_process()
    version.setbase("1.3")
    app = new_app(str((conf or config_folder()).absolute()), more)
    try:
        yield app
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
