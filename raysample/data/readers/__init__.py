"""Readers: files of every supported format become Arrow batches, with the position of every unreadable row."""
