"""schedule_study."""
