"""regularization_study: what each regularizer does to a net that overfits, and when L2 is weight decay."""

from fanin.report.studies.regularization.claims import RegularizationStudy

__all__ = ["RegularizationStudy"]
