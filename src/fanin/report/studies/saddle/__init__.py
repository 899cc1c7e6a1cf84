"""saddle_study: the index of critical points over their height, and which methods stay at a strict saddle."""

from fanin.report.studies.saddle.claims import SaddleStudy

__all__ = ["SaddleStudy"]
