"""Sources: a configured path -> its files, each read or left out for a stated reason."""
