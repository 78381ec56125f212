"""The settings of `economy.py`, what they cost, and what the halves that they select are worth."""
