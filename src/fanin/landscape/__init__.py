"""The loss over lines and planes through trained weights."""
