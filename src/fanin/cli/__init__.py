"""The command `fanin`: what a user types, and what is said of it."""
