"""First starts of drivers, and what is done to them."""
