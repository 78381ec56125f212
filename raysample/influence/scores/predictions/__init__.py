"""Scores made of what the model predicts: they need a forward at each checkpoint, and nothing else."""
