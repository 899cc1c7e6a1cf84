"""The contract of the files of fanin-landscape: every column, each said once."""

from __future__ import annotations

from fanin.record.columns import Column

LANDSCAPE = (
    Column("x", "the place on the first axis: of a line between two runs 0 is the first and 1 the second"),
    Column("y", "the place on the second axis; 0 on a line"),
    Column("loss", "the loss of the data there, without penalties, in evaluation mode"),
    Column("error", "the share of wrong answers there"),
)
"""landscape/NAME.csv, of fanin-landscape: a row for each point of the grid."""

LANDSCAPE_PATHS = (
    Column("run", "the run"),
    Column("step", "updates made before the point"),
    Column("x", "the place of its projection on the first axis"),
    Column("y", "the place on the second"),
    Column("distance", "how far the weights are off the line or plane, a Euclidean norm"),
)
"""landscape/NAME-paths.csv: the way of the training, projected on the line or plane."""
