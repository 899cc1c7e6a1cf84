"""noise_reduction_study: the noise floor of sgd on a convex problem, and what happens to it on a deep one."""

from fanin.report.studies.noise_reduction.claims import NoiseReductionStudy

__all__ = ["NoiseReductionStudy"]
