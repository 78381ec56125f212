"""Landmarks.

An expensive score computed exactly on a seeded sample, predicted for all other rows from one cheap forward.

`draw_landmarks` samples the landmarks, `describe_rows` turns one forward at the last checkpoint into descriptors,
`fit_landmarks` learns the score from the landmarks (or refuses), and `Fitted.predict` predicts it for all rows.
"""

from raysample.influence.landmarks.descriptors import Descriptors, describe_rows
from raysample.influence.landmarks.draw import draw_landmarks
from raysample.influence.landmarks.fitted import Fitted
from raysample.influence.landmarks.fitting import fit_landmarks

__all__ = ["Descriptors", "Fitted", "describe_rows", "draw_landmarks", "fit_landmarks"]
