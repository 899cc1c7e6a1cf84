"""Reports of searches and grids: what mattered, what was best, and how the search came there. Files only."""
