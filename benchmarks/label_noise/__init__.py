"""Labelled texts whose label errors are known, and how well a score finds them."""
