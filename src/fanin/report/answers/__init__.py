"""What a sweep says: which configuration is best and how sure that is, and what each axis of the grid does."""
