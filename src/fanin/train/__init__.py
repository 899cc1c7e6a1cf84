"""Training: one loop and one step, for one run and for many of one structure."""
