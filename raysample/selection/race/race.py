"""The race: candidates against stratified random sampling of the same size, judged by a probe on rows out of fold.

The training rows are dealt to folds. For each fold the scores are computed on the rows of the other folds *alone*
(scores that have seen the judged rows flatter some candidates), every candidate and the incumbent draw their selections
from these rows, a probe is fitted on each selection (with the strength that suits the incumbent), and the fold is
judged. Candidates that are clearly worse than the best one after the first two folds are left out of the others.

The incumbent is stratified random sampling and is taken unless the evidence says otherwise: a candidate wins if its
one-sided p-value, corrected by Holm for all candidates that entered, is below 1 − confidence. So wrong wins are rare
(`evidence`), and not to lose costs nothing.

A fold is a pure function of the rows and the fold's number, and the rounds are fixed: the result does not depend on the
order of the rows, nor on who computes which fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from raysample.core.arrays import FloatArray
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.evaluation import Difference, holm
from raysample.selection.probe.fitting import ProbeRows, fit_probes, judge_probes, probe_rows, strength_part
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.race.candidates import (
    INCUMBENT,
    Draw,
    draw_overlap,
    draw_selections,
    portfolio,
    scores_of,
)
from raysample.selection.race.evidence import (
    RACE_OBJECTIVES,
    RacedRows,
    RaceRun,
    contributions,
    estimate_of_winners,
    mean_and_error,
    probe_gain,
    race_difference,
)
from raysample.selection.race.folds import Folds, deal_folds
from raysample.selection.race.nested_scores import nested_scores
from raysample.selection.race.race_result import RaceEntry, RaceResult, RaceSettings, entry
from raysample.selection.race.race_rows import RaceRows

DRAWS, INCUMBENT_DRAWS = 2, 4
"""Draws per fold of a candidate and of the incumbent, to whose draws every candidate is compared."""
FIRST_ROUND = 2
"""Folds after which clear losers are left out."""
ALL_DATA = -1
"""Number of the run on all rows, which is no candidate: the others are the places of their arms."""
_CLEAR = 2.0
"""A candidate is left out if its difference to the best one, plus so many standard errors, is below 0."""
MapFolds = Callable[[Callable[[int], "list[RaceRun | str]"], Sequence[int]], Iterable["list[RaceRun | str]"]]


def run_race(
    rows: RaceRows, settings: RaceSettings, arms: Sequence[ArmConfig] | None = None, map_folds: MapFolds = map
) -> RaceResult:
    """Let candidates race and return the arm to take, with all evidence.

    Args:
        rows: the training rows with their features.
        settings: share, objective, confidence, seed.
        arms: the candidates; the `portfolio` by default.
        map_folds: maps a picklable function over fold numbers, in order: `map`, or that of a cluster.

    Raises:
        SelectionError: features that are not finite, or an arm that names an unknown policy, option or score.
    """
    entered = tuple(portfolio() if arms is None else arms)
    higher_is = {**PROBE_HIGHER_IS, **rows.higher_is}
    names = scores_of(entered, higher_is)
    rows = rows.ordered(settings.seed)
    folds = deal_folds(rows.labels, np.arange(len(rows)), settings.share, rows.cluster)
    if folds.refused:
        return RaceResult.of_incumbent(settings, folds.refused, [entry(arm, "not run") for arm in entered])
    probed = probe_rows(rows.vectors, rows.labels, rows.classes, settings.device)
    fold = _Fold(rows, probed, folds, settings, (INCUMBENT, *entered), tuple(sorted(names & set(PROBE_HIGHER_IS))))
    state = _Race(fold, entered, {})
    state = state.judged(range(min(FIRST_ROUND, folds.count)), map_folds)
    gain, error = probe_gain(state.runs[0], state.rows)
    if gain <= _CLEAR * error:
        reason = f"the probe is no better than the class shares ({gain:+.3f} ± {error:.3f} nats): it cannot judge"
        return RaceResult.of_incumbent(settings, reason, [entry(arm, "not run") for arm in entered], folds.notes)
    state = state.without_losers().judged(range(FIRST_ROUND, folds.count), map_folds)
    return state.result()


@dataclass(frozen=True, eq=False)
class _Fold:
    """All that is needed to judge a fold; picklable. `arms` has the incumbent first."""

    rows: RaceRows
    probed: ProbeRows
    folds: Folds
    settings: RaceSettings
    arms: tuple[ArmConfig, ...]
    scores: tuple[str, ...]

    def judge(self, number: int, racing: tuple[int, ...]) -> list[RaceRun | str]:
        """Judge one fold: for each racing run its predictions, or why its arm cannot be followed on these rows."""
        training, judged = np.flatnonzero(self.folds.fold != number), np.flatnonzero(self.folds.fold == number)
        part = self.probed.take(training)
        seed = self.settings.seed * 1_009 + number
        scores = nested_scores(self.rows, part, training, self.scores, seed, self.settings.sampled)
        known = self.rows.policy_rows(training, scores)
        higher_is = {**PROBE_HIGHER_IS, **self.rows.higher_is}
        drawn: list[list[Draw] | str] = []
        for i in racing:
            if i == ALL_DATA:
                drawn.append([Draw(np.ones(len(training), np.float32))])
                continue
            arm = self.arms[i]
            count = INCUMBENT_DRAWS if arm is self.arms[0] else DRAWS
            # Draws of different folds have different seeds, or they would keep mostly the same rows.
            seeds = [seed * 97 + draw for draw in range(count)]
            try:
                drawn.append(draw_selections(known, arm, higher_is, self.settings.share, seeds))
            except SelectionError as error:
                drawn.append(error.problem)
        good = [each for each in drawn if not isinstance(each, str)]
        weights = np.stack([draw.weights for draws in good for draw in draws])
        fit = fit_probes(part, weights, strength_part(len(training), seed))
        found = judge_probes(fit, self.probed.take(judged))
        result: list[RaceRun | str] = []
        start = 0
        for draws in drawn:
            if isinstance(draws, str):
                result.append(draws)
                continue
            stop = start + len(draws)
            result.append(RaceRun(found.loss[start:stop], found.predicted[start:stop], draw_overlap(draws)))
            start = stop
        return result


@dataclass(frozen=True, eq=False)
class _Race:
    """A race under way: the judged folds, and by arm (0 is the incumbent) its runs so far or why it is out.

    The incumbent comes first: it chooses the strength of the probe.
    """

    fold: _Fold
    entered: tuple[ArmConfig, ...]
    runs: dict[int, RaceRun]
    out: tuple[tuple[int, str, RaceEntry], ...] = ()
    folds: tuple[int, ...] = ()

    @property
    def rows(self) -> RacedRows:
        """The rows judged so far, fold by fold."""
        places = np.concatenate([np.flatnonzero(self.fold.folds.fold == number) for number in self.folds])
        rows = self.fold.rows
        cluster = None if rows.cluster is None else np.unique(rows.cluster[places], return_inverse=True)[1]
        group = None if rows.group is None else rows.group[places]
        return RacedRows(rows.labels[places], self.fold.folds.fold[places], group, cluster)

    def judged(self, numbers: Sequence[int], map_folds: MapFolds) -> _Race:
        """Return the race after more folds."""
        racing = tuple(self.runs) or (*range(len(self.fold.arms)), ALL_DATA)
        race = self
        for number, found in zip(
            numbers, map_folds(partial(self.fold.judge, racing=racing), list(numbers)), strict=True
        ):
            race = race._with(number, dict(zip(racing, found, strict=True)))
        return race

    def _with(self, number: int, found: dict[int, RaceRun | str]) -> _Race:
        """Return the race with one more fold; arms that cannot be followed there are out."""
        runs, out = dict[int, RaceRun](), list(self.out)
        for i, run in found.items():
            if any(gone == i for gone, _, _ in out):
                continue
            if isinstance(run, str):
                if i == 0:
                    raise SelectionError(f"stratified random sampling is not possible: {run}", "keep more rows")
                out.append((i, run, entry(self.fold.arms[i], f"refused: {run}")))
                continue
            before = self.runs.get(i)
            runs[i] = run if before is None else _joined(before, run)
        return replace(self, runs=runs, out=tuple(out), folds=(*self.folds, number))

    def without_losers(self) -> _Race:
        """Return the race without the arms that are clearly worse than the best one so far, which cannot win."""
        rows, objective = self.rows, self.fold.settings.objective
        means = {i: float(contributions(objective, run, rows)[0].mean()) for i, run in self.runs.items() if i >= 0}
        leader = max(means, key=lambda i: means[i])
        out, runs = list(self.out), dict[int, RaceRun]()
        for i, run in self.runs.items():
            if i in (ALL_DATA, 0, leader):
                runs[i] = run
                continue
            found = race_difference(objective, run, self.runs[leader], rows)
            if float(found.mean) + _CLEAR * float(np.sqrt(found.seeds + found.rows)) < 0:
                status = f"left out after {len(rows.gold):,} rows"
                out.append((i, status, self._entry(i, status, 1.0)))
            else:
                runs[i] = run
        return replace(self, runs=runs, out=tuple(out))

    def _entry(self, number: int, status: str, p: float) -> RaceEntry:
        """Return an arm's entry with its differences by every objective."""
        rows = self.rows
        differences: dict[str, Difference] = {
            name: race_difference(name, self.runs[number], self.runs[0], rows)
            for name in RACE_OBJECTIVES
            if name != "worst_group" or rows.group is not None or self.fold.settings.objective == name
        }
        return entry(self.fold.arms[number], status, differences, p, self.fold.settings.confidence)

    def result(self) -> RaceResult:
        """Return the result: the winner, if any, and the evidence."""
        settings, rows = self.fold.settings, self.rows
        alive = [i for i in self.runs if i > 0]
        found = {i: race_difference(settings.objective, self.runs[i], self.runs[0], rows) for i in alive}
        # Arms that are out count in the correction, too: their p-value is 1.
        p = np.ones(len(self.fold.arms) - 1)
        for i, difference in found.items():
            p[i - 1] = float(difference.p_value())
        p = holm(p) if len(p) else p
        shown = [i for i in alive if p[i - 1] < 1 - settings.confidence]
        winner = max(shown, key=lambda i: float(found[i].mean), default=0)
        entries = {i: kept for i, _, kept in self.out}
        for i in alive:
            status = "chosen" if i == winner else "better" if i in shown else "not shown to be better"
            entries[i] = self._entry(i, status, float(p[i - 1]))
        reason = "no candidate is shown to be better: stratified random sampling is taken"
        result = RaceResult.of_incumbent(settings, reason, [entries[i] for i in sorted(entries)], self.fold.folds.notes)
        values, by_row = self._values(winner), self._by_row([*alive, ALL_DATA])
        gained = estimate_of_winners(by_row[:-1], rows.fold) if winner else np.zeros(len(rows.fold))
        result = replace(
            result, rows=len(rows.gold), values=values, to_all_data=mean_and_error(gained - by_row[-1], rows.cluster)
        )
        if not winner:
            return result
        gain, error = mean_and_error(gained, rows.cluster)
        arm, tests = self.fold.arms[winner], len(self.fold.arms) - 1
        return replace(
            result,
            arm=arm.to_dict(),
            won=True,
            reason=f"{arm.name} is better in {settings.objective} (p = {p[winner - 1]:.2g})",
            gain=gain,
            gain_error=error,
            at_least=float(found[winner].bounds(1 - 2 * (1 - settings.confidence) / tests)[0]),
        )

    def _values(self, winner: int) -> dict[str, float]:
        """Return the objective by the probe with all data, by the incumbent and by what was chosen."""
        of = {"all_data": ALL_DATA, "incumbent": 0, "chosen": winner}
        objective, rows = self.fold.settings.objective, self.rows
        return {name: float(contributions(objective, self.runs[i], rows)[0].mean()) for name, i in of.items()}

    def _by_row(self, runs: Sequence[int]) -> FloatArray:
        """Return the differences of runs to the incumbent by row, [A, N]."""
        rows, objective = self.rows, self.fold.settings.objective
        base = contributions(objective, self.runs[0], rows)[0].mean(0)
        return np.stack([contributions(objective, self.runs[i], rows)[0].mean(0) - base for i in runs])


def _joined(before: RaceRun, more: RaceRun) -> RaceRun:
    """Return the runs of several folds as one; the overlap is the larger one."""
    loss = np.concatenate([before.loss, more.loss], axis=1)
    return RaceRun(loss, np.concatenate([before.predicted, more.predicted], axis=1), max(before.shared, more.shared))
