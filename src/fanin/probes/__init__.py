"""What can be seen of a network at one step: captured tensors, pure measures on them, and when to look."""

from fanin.probes.probe import NoProbe, Probe, Trajectory

__all__ = ["NoProbe", "Probe", "Trajectory"]
