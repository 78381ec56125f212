"""The executor on Ray: the only package that imports ray. Its tasks and actors run the plain core."""
