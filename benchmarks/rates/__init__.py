"""What `scoring.py` measures: a loop written by hand, and the corpus and checkpoints that everything scores."""
