"""Reading the folders of runs."""
