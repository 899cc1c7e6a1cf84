"""schedule_study: what a warm-up is for, and what a falling learning rate gains over a constant one."""

from fanin.report.studies.schedule.claims import ScheduleStudy

__all__ = ["ScheduleStudy"]
