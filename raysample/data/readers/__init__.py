"""Readers: files of every supported format -> Arrow batches, with the position of every row that cannot be read."""
