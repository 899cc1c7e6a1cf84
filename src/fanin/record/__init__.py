"""The files of a run: what passes from training to reports and notebooks."""
