"""Scores made of gradients: of their lengths, their spread along the training, their dot products with directions."""
