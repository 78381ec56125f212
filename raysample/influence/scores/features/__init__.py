"""Scores made of where a row lies among other rows, in the space of the classifier's input."""
