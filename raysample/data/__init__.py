"""Data: corpora, logs and their readers, checkpoint sets and score tables; described and streamed, never held whole."""
