"""The figures of a report, drawn to files: no backend is started, whatever one MPLBACKEND names."""

from __future__ import annotations

import os

# matplotlib reads the variable when it is imported, and refuses a name that it does not know: a notebook's own.
_named = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _named is not None:
        os.environ["MPLBACKEND"] = _named
