"""Reports: tables, figures and a page made of the folders that runs leave. Knows files only."""
