"""Trainings that are not raysample's."""
