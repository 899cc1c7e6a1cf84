"""preprocessing_study: the second moments of the inputs decide how fast gradient descent is."""

from fanin.report.studies.preprocessing.claims import PreprocessingStudy

__all__ = ["PreprocessingStudy"]
