"""Where fanin's own configuration lies."""

from pathlib import Path


def config_folder() -> Path:
    """conf/ of an installed wheel (inside the package) or of a checkout (at its top level)."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"
