"""What a report writes: tables, the terminal, the page."""
