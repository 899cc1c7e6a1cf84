"""The eigenvalues that a run's curvature.csv has, for studies of whole spectra."""

from __future__ import annotations

import numpy as np

from fanin.record.csv_file import read_table
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats


def spectrum(run: Run, matrix: str = "", layer: str = "", *, last: bool = True) -> Floats:
    """Eigenvalues, falling: as many as probe.curvature.k asked for at the upper end; empty where there are none.

    Args:
        run: whose curvature.csv is read.
        matrix: "" for the Hessian, or gauss_newton.
        layer: "" for the whole model.
        last: of the last look, else of the first.
    """
    name = f"{matrix}_eigenvalue_largest" if matrix else "eigenvalue_largest"
    rows = read_table(run.folder / "curvature.csv") or []
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.get("quantity") == name and (row.get("layer") or "") == layer and row.get("step") and row.get("value"):
            found.setdefault(int(row["step"]), []).append(float(row["value"]))
    values: Floats = np.sort(np.array(found[(max if last else min)(found)] if found else []))[::-1]
    return values if np.isfinite(values).all() else values[:0]
