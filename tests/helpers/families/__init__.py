"""Every family of sequence classifiers, made tiny, and its scores by a bare loop."""
