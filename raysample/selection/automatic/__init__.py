"""Automatic choice of a selection: features of texts, a linear probe on them, and the race of candidates."""
