"""Hydra plugins of fanin: found by Hydra itself, imported at every start, so light."""
