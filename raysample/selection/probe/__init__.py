"""The probe: logistic regression on frozen features, and the scores that it gives every row."""
