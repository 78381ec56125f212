"""Tensors in, tensors out: what the scores are computed with, free of models, files and checkpoints."""
