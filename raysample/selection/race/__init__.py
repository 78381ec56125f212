"""The race of candidates against stratified random sampling, and the decision that comes of it."""
