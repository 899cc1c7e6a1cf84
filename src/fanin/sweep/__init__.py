"""Jobs and grids: which folder is whose, what is run again, and what a user sees of it."""
