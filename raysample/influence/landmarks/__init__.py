"""Landmarks: an expensive score exactly on a seeded sample, predicted for the other rows from one cheap forward.

`sample` draws the landmarks, `describe_rows` says what one forward at the last checkpoint tells of a row, `fit` learns
the score from the landmarks, or refuses, and `Fitted.predict` gives it for all rows.
"""

from raysample.influence.landmarks.descriptors import Descriptors, describe_rows
from raysample.influence.landmarks.draw import draw_landmarks
from raysample.influence.landmarks.fitted import Fitted
from raysample.influence.landmarks.fitting import fit_landmarks

__all__ = ["Descriptors", "Fitted", "describe_rows", "draw_landmarks", "fit_landmarks"]
