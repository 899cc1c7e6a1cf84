"""The parts of a recipe: a room for each group of conf/."""
