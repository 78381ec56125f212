"""Scoring while actors, workers, nodes and drivers are killed: the log, the cluster, the faults, what came of it."""
