"""The rounds of a pilot: which rows are selected from, which are judged, and what each arm keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import IntArray
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.data.row_sampling import generator
from raysample.selection.probe.fitting import probe_rows
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.race.candidates import draw_selections, scores_of
from raysample.selection.race.nested_scores import nested_scores
from raysample.selection.race.pilot_plan import PilotPlan
from raysample.selection.race.race_rows import RaceRows

_FIRST_STREAM = 7_919
"""Stream of the generator that deals the rows of the first round."""


@dataclass(frozen=True, eq=False)
class PilotRound:
    """A round.

    Attributes:
        part: places of the rows to select from, rising, [P].
        judged: places of the rows to judge, rising, [J]; no near-equal text is in both.
        weights: by the name of an arm the weights of the part's rows, [P], 0 for pruned rows.
        refused: by the name of an arm why it cannot be followed on these rows.
    """

    part: IntArray
    judged: IntArray
    weights: Mapping[str, npt.NDArray[np.float32]]
    refused: Mapping[str, str]

    def weights_of(self, name: str) -> npt.NDArray[np.float32]:
        """Return an arm's weights; raises SelectionError if the arm cannot be followed."""
        if name in self.refused:
            raise SelectionError(f"{name} is not possible on a part of the rows: {self.refused[name]}", "keep more")
        return self.weights[name]


def deal_round(
    rows: RaceRows, plan: PilotPlan, arms: Sequence[ArmConfig], share: float, seed: int, number: int, sampled: bool
) -> PilotRound:
    """Deal the rows of a round, compute scores on its part alone, and draw the selections of all arms.

    Args:
        rows: the rows, in an order that depends on their ids alone (`RaceRows.ordered`).
        plan: the sizes. arms: stratified random sampling and the candidates.
        share: share of the part that selections keep.
        seed: of the pilot. number: of the round, counted from 0.
        sampled: whether the rows are a sample of more, see `nested_scores`.
    """
    cluster = np.arange(len(rows)) if rows.cluster is None else np.unique(rows.cluster, return_inverse=True)[1]
    rank = generator(seed, _FIRST_STREAM + number).permutation(int(cluster.max()) + 1)
    order = np.argsort(rank[cluster], kind="stable").astype(np.int64)
    part, judged = np.sort(order[: plan.part]), order[plan.part :][: plan.judged]
    judged = np.sort(judged[~np.isin(cluster[judged], cluster[part])])
    names, draw_seed = sorted(scores_of(arms, PROBE_HIGHER_IS)), seed * 1_009 + number
    probed = probe_rows(rows.vectors[part], rows.labels[part], rows.classes)
    known = rows.policy_rows(part, nested_scores(rows, probed, part, names, draw_seed, sampled))
    weights, refused = dict[str, npt.NDArray[np.float32]](), dict[str, str]()
    for arm in arms:
        try:
            weights[arm.name] = draw_selections(known, arm, PROBE_HIGHER_IS, share, [draw_seed])[0].weights
        except SelectionError as error:
            refused[arm.name] = error.problem
    return PilotRound(part, judged, weights, refused)
