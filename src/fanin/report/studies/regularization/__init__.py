"""regularization_study."""
