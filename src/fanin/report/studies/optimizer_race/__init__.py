"""optimizer_race."""
