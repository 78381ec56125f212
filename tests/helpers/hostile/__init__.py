"""What fuzz.py tries: hostile inputs of many kinds, each made from its seed alone."""
