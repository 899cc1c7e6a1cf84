"""fanin from Python: runs, grids and their tables in a host's own process, which stays as it was."""
