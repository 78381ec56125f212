"""The decision of `prune`: what was chosen on which evidence, as data and as sentences.

The differences of a race are those of a linear probe on held-out rows. Fine-tuning may order selections otherwise, so
without a pilot no sentence promises more than the probe measured.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from scipy.special import ndtri

from raysample.core import manifests
from raysample.core.config import ArmConfig
from raysample.evaluation import NAMES
from raysample.selection.race.pilot_evidence import PilotEntry, PilotResult
from raysample.selection.race.race_result import RaceResult

DECISION_FILE, REPORT_FILE = "decision.json", "report.html"
KEPT_ROWS_FILE, REMOVED_ROWS_FILE, SUSPECTS_FILE = "kept.parquet", "removed.parquet", "suspects.csv"
MOST_SUSPECTS = 10_000
"""Suspects that are listed, at most: those with the least confidence."""
EQUIVALENT, WORSE, UNDECIDED = "equivalent", "worse", "undecided"


@dataclass(frozen=True)
class ShareTried:
    """A share that `keep: auto` tried: difference of its selection to all data, its standard error, and the outcome."""

    share: float
    difference: float
    error: float
    outcome: str


@dataclass(frozen=True)
class CostOfChoice:
    """What choosing cost, compared with a training.

    Attributes:
        choosing: seconds of features, race and pilot.
        training: seconds of one training on all rows, estimated. epochs: of this training.
        measured: what the estimate is made of.
    """

    choosing: float
    training: float
    epochs: int
    measured: str

    @property
    def share(self) -> float:
        """Cost of choosing, as a share of one training on all rows."""
        return self.choosing / self.training

    def break_even(self, kept: float) -> int:
        """Return after how many trainings on the kept share the choice has paid.

        >>> CostOfChoice(60.0, 100.0, 3, "").break_even(0.5)
        2
        """
        return max(1, math.ceil(self.share / (1 - kept)))


@dataclass(frozen=True)
class Decision:
    """What `prune` decided.

    Attributes:
        race: the race at the share that was taken, with the chosen arm.
        share: the share of the rows that is kept; 1 if no smaller share is equivalent to all data.
        keep: the share that was asked for, or `auto`.
        tolerance: loss to all data, in the objective's unit, that counts as equivalent.
        shares: the shares that `auto` tried, from the largest on.
        counts: rows `in`, `kept`, `removed` and `quarantined`; the first is the sum of the others.
        suspects: number of rows whose label the probe contradicts.
        agreement: share of the rows whose label the probe predicts, out of fold.
        features: `source`, `pooling` and `dimension` of the features.
        cost: `seconds` and `cpu_seconds` of this process for each step that was not resumed.
        fingerprints: of corpus, features and selection.
        warnings: sentences about what the selection does to classes and the like.
        pilot: the outcome of the pilot; None if none was asked for, or if the race has no winner.
        paid: what choosing cost compared with a training; None without an encoder.
    """

    race: RaceResult
    share: float
    keep: float | str
    tolerance: float
    shares: tuple[ShareTried, ...]
    counts: dict[str, int]
    suspects: int
    agreement: float
    features: dict[str, Any]
    cost: dict[str, dict[str, float]]
    fingerprints: dict[str, str]
    warnings: tuple[str, ...] = field(default=())
    pilot: PilotResult | None = None
    paid: CostOfChoice | None = None

    @property
    def arm(self) -> ArmConfig:
        """The arm that was taken."""
        return self.race.chosen_arm if self.pilot is None else self.pilot.chosen_arm

    @property
    def won(self) -> bool:
        """Whether a candidate was taken, and not stratified random sampling."""
        return self.race.won and (self.pilot is None or self.pilot.winner is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, with the sentences."""
        sentences = {
            "chosen": self.chosen(),
            "gain": self.gain(),
            "guarantee": self.guarantee(),
            "all_data": self.all_data(),
        }
        return {"noun": "Decision", **asdict(self), "sentences": sentences}

    @staticmethod
    def load(place: str) -> Decision:
        """Read a decision; raises StorageError if the file is missing or damaged."""

        def inner(data: dict[str, Any]) -> dict[str, Any]:
            """Return the data of the dataclass, with race, pilot and cost as objects."""
            plain = {name: value for name, value in data.items() if name not in ("noun", "sentences")}
            pilot, paid = data["pilot"], data["paid"]
            return {
                **plain,
                "race": RaceResult.from_dict(data["race"]),
                "pilot": None if pilot is None else PilotResult.from_dict(pilot),
                "paid": None if paid is None else CostOfChoice(**paid),
            }

        return manifests.kind_of(Decision, place, inner)

    def chosen(self) -> str:
        """Say what was taken, and why."""
        if self.share == 1:
            tried = "no smaller share is shown to be as good as all data"
            return f"all rows: {tried if self.shares else self.race.reason}"
        if self.pilot is not None:
            return self._chosen_by_pilot(self.pilot)
        if self.race.won:
            return self.race.reason
        return f"stratified random ({self.race.reason.removesuffix(': stratified random sampling is taken')})"

    def _chosen_by_pilot(self, pilot: PilotResult) -> str:
        """Say what was taken after a pilot."""
        if pilot.winner is not None:
            return f"{pilot.winner.name}: better by the probe, and confirmed by fine-tuning"
        said = f"{self.race.chosen_arm.name} is better by the probe"
        if pilot.reason:
            return f"stratified random ({said}, and there was no pilot to confirm it: {pilot.reason})"
        outcomes = "; ".join(f"{entry.name} {entry.status}" for entry in pilot.entries)
        return f"stratified random ({said}; by fine-tuning: {outcomes})"

    def gain(self) -> str:
        """Say what was gained over stratified random sampling of the same size."""
        if not self.won or self.share == 1:
            return "no evidence of a gain over stratified random sampling"
        tuned = None if self.pilot is None else self.pilot.winner
        entry = next(entry for entry in self.race.entries if entry.name == self.arm.name)
        mean, low, high = entry.differences[self.race.objective]
        if tuned is not None:
            return f"fine-tuned {self.amount(tuned.mean)} over stratified random of the same size, by the probe " + (
                f"{self.number(mean)} ({self.race.confidence:.0%} interval {self.number(low)} to {self.number(high)})"
            )
        return (
            f"{self.amount(mean)} over stratified random of the same size ({self.race.confidence:.0%} interval "
            f"{self.number(low)} to {self.number(high)}); on rows that did not choose "
            f"{self.with_error(self.race.gain, self.race.gain_error)}"
        )

    def guarantee(self) -> str:
        """State how much worse than stratified random sampling the selection can be."""
        if self.share == 1:
            return "the selection is all data"
        if not self.won:
            return "not worse than stratified random: the selection is stratified random"
        if self.pilot is not None and self.pilot.winner is not None:
            return self._guaranteed_by_pilot(self.pilot, self.pilot.winner)
        known = (
            f"with {self.race.confidence:.0%} confidence (n = {self.race.rows:,}, {len(self.race.entries)} candidates)"
        )
        if self.race.at_least >= 0:
            return f"better than stratified random by at least {self.amount(self.race.at_least)} {known}"
        return f"not worse than stratified random by more than {self.amount(-self.race.at_least).lstrip('+')} {known}"

    def _guaranteed_by_pilot(self, pilot: PilotResult, winner: PilotEntry) -> str:
        """State how much worse than stratified random sampling a model fine-tuned on the selection can be."""
        known = (
            f"when fine-tuned, with {pilot.confidence:.0%} confidence ({len(winner.rounds)} rounds of "
            f"{pilot.judged:,} judged rows, trained on {self.share:.0%} of {pilot.part:,})"
        )
        if winner.low >= 0:
            return f"better than stratified random by at least {self.amount(winner.low)} {known}"
        return f"not worse than stratified random by more than {self.amount(-winner.low).lstrip('+')} {known}"

    def all_data(self) -> str:
        """Compare the selection with all data."""
        if self.share == 1:
            return "the selection is all data"
        if self.arm.name != self.race.chosen_arm.name:
            return f"not compared: the race compared {self.race.chosen_arm.name}"
        if self.race.to_all_data is None:
            return "not compared: there was no race"
        mean, error = self.race.to_all_data
        outcome = compared_with_all_data(mean, error, self.tolerance, self.race.confidence)
        words = {
            EQUIVALENT: f"as good as all data within {self.amount(self.tolerance).lstrip('+')}",
            WORSE: "worse than all data",
            UNDECIDED: f"not shown to be as good as all data within {self.amount(self.tolerance).lstrip('+')}",
        }
        return f"{words[outcome]} ({self.with_error(mean, error)})"

    def number(self, value: float) -> str:
        """Return a difference of the objective: points for shares, nats for the log-loss."""
        return f"{value:+.3f}" if self.race.objective == "log_loss" else f"{100 * value:+.2f}"

    def with_error(self, mean: float, error: float) -> str:
        """Return a difference with its standard error."""
        return f"{self.number(mean)} ± {self.number(error).lstrip('+')}"

    def amount(self, value: float) -> str:
        """Return a difference of the objective with its unit."""
        if self.race.objective == "log_loss":
            return f"{self.number(value)} nats of log-loss"
        return f"{self.number(value)} points of {NAMES[self.race.objective]}"


def compared_with_all_data(mean: float, error: float, tolerance: float, confidence: float) -> str:
    """Judge a difference with a standard error by two one-sided tests.

    EQUIVALENT: not worse than −tolerance. WORSE: worse than 0. UNDECIDED: neither is shown.

    >>> [compared_with_all_data(mean, 0.001, 0.005, 0.95) for mean in (0.0, -0.004, -0.002)]
    ['equivalent', 'worse', 'equivalent']
    """
    reach = float(ndtri(confidence)) * error
    if mean - reach >= -tolerance:
        return EQUIVALENT
    return WORSE if mean + reach < 0 else UNDECIDED
