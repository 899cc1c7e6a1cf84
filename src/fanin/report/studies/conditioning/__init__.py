"""conditioning_study: how spread the curvatures of a net are at initialization, and gradient descent's rate for it."""

from fanin.report.studies.conditioning.claims import ConditioningStudy

__all__ = ["ConditioningStudy"]
