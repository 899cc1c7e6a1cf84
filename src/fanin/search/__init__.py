"""Searches: which configurations to run next, for how many steps, and which to leave."""
