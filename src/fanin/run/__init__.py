"""One run: from its configuration to objects, to training, to its folder."""
