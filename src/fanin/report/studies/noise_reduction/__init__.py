"""noise_reduction_study."""
