"""Made-up logs: repeats as in real traffic, in date partitions."""
