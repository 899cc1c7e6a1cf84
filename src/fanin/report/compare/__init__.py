"""Paired comparison of configurations."""
