"""flat_minima_study: what batch size, rate and sam do to sharpness and to the gap, and what sharpness is worth."""

from fanin.report.studies.flat_minima.claims import FlatMinimaStudy

__all__ = ["FlatMinimaStudy"]
