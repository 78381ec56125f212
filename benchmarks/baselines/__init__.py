"""What `training.py` compares: the loop of raysample, loops written by hand, and the Hugging Face Trainer."""
