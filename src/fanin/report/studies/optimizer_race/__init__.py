"""optimizer_race: optimizers on surfaces of two variables, their rates on the quadratic against theory."""

from fanin.report.studies.optimizer_race.claims import OptimizerRace

__all__ = ["OptimizerRace"]
