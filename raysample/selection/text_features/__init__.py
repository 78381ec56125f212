"""Features of texts for the probe: n-grams or a frozen encoder, and their files."""
