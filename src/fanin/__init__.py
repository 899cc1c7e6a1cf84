"""fanin: a command-line laboratory for how deep networks start and keep training."""

__version__ = "0.1.0"
