"""Core: configuration, storage, locks, statistics and numerics that every other package builds on."""
