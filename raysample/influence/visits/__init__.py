"""Visits: one mini-batch at one checkpoint, its forward pass, backward passes and per-sample gradient quantities."""
