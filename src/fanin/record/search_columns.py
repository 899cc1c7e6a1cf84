"""The contract of a search's files: every column and key of what is searched, and of what came of it."""

from __future__ import annotations

from fanin.record.columns import Column

SUMMARY_SEARCH = (
    Column("trial", "the number of the search's trial, of which this is the run at one seed"),
    Column("rung", "the last rung of its bracket that it has come to, from 0"),
    Column("dropped", "why it left the search before its end, and where; empty if it did not"),
)
"""Further columns of summary.csv in the folder of a search, before those that it ends with."""

RUNGS = (
    Column("bracket", "the number of the bracket, from 0; 0 without brackets"),
    Column("rung", "the number of the rung within its bracket, from 0"),
    Column("trial", "the number of the configuration, from 0, in the order in which they were proposed"),
    Column("run", "the run's folder below the grid's"),
    Column("seed", "the run's seed"),
    Column("steps", "updates that it had made there"),
    Column("value", "the metric there, inf (-inf if it is to be large) where there is none; several stand in a row"),
    Column("state", "paused, done, diverged, failed or refused: its configuration cannot be run"),
    Column("reason", "why the configuration left the search here; empty if it went on or came to its end"),
)
"""search/rungs.csv, a row for each run on each rung; complete rungs only."""

SEARCH = (
    Column("method", "who proposes: random, qmc, tpe, gp, cmaes, nsga2 or reinforce"),
    Column("metrics", "what is to be small or large, a list"),
    Column("directions", "minimize or maximize, one for each metric"),
    Column("seeds", "the seeds at which each configuration is run"),
    Column("budget", "none, halving, hyperband or racing"),
    Column("eta", "of a rung, one configuration in so many goes on"),
    Column("min_steps", "steps of the first rung at least, or null"),
    Column("level", "of the test by which a race drops configurations"),
    Column("batch", "configurations that are proposed at a time, where the method learns"),
    Column("trials", "configurations in all, or null"),
    Column("seed", "of the proposals"),
    Column("steps", "updates of a whole run; where runs differ in them, of the first"),
    Column("fixed", "the overrides that all runs share"),
    Column("axes", "the axes: key, kind (float, int or choice), low, high, log, step, choices, condition"),
)
"""search/search.json: what is searched, and how."""
