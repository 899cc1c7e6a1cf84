"""normalization_study: what normalization does to 50 ReLU layers whose variance lets activations vanish or explode."""

from fanin.report.studies.normalization.claims import NormalizationStudy

__all__ = ["NormalizationStudy"]
