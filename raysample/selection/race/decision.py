"""The decision of `prune`: what was chosen on which evidence, as data and as sentences.

The differences are those of a linear probe on held-out rows. Fine-tuning may order selections otherwise, so no sentence
promises more than the probe measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from scipy.special import ndtri

from raysample.core import manifests
from raysample.core.config import ArmConfig
from raysample.evaluation import NAMES
from raysample.selection.race.race_result import RaceResult

DECISION_FILE, REPORT_FILE = "decision.json", "report.html"
KEPT_ROWS_FILE, REMOVED_ROWS_FILE, SUSPECTS_FILE = "kept.parquet", "removed.parquet", "suspects.csv"
MOST_SUSPECTS = 10_000
"""Suspects that are listed, at most: those with the least confidence."""
WEAK = 0.7
"""Share of labels that the probe predicts below which its suspects mean little."""
EQUIVALENT, WORSE, UNDECIDED = "equivalent", "worse", "undecided"


@dataclass(frozen=True)
class ShareTried:
    """A share that `keep: auto` tried: difference of its selection to all data, its standard error, and the outcome."""

    share: float
    difference: float
    error: float
    outcome: str


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

    @property
    def arm(self) -> ArmConfig:
        """The arm that was taken."""
        return self.race.chosen_arm

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
            """Return the data of the dataclass, with the race as an object."""
            plain = {name: value for name, value in data.items() if name not in ("noun", "sentences")}
            return {**plain, "race": RaceResult.from_dict(data["race"])}

        return manifests.kind_of(Decision, place, inner)

    def chosen(self) -> str:
        """Say what was taken, and why."""
        if self.share == 1:
            tried = "no smaller share is shown to be as good as all data"
            return f"all rows: {tried if self.shares else self.race.reason}"
        if self.race.won:
            return self.race.reason
        return f"stratified random ({self.race.reason.removesuffix(': stratified random sampling is taken')})"

    def gain(self) -> str:
        """Say what was gained over stratified random sampling of the same size."""
        if not self.race.won or self.share == 1:
            return "no evidence of a gain over stratified random sampling"
        entry = next(entry for entry in self.race.entries if entry.status == "chosen")
        mean, low, high = entry.differences[self.race.objective]
        return (
            f"{self.amount(mean)} over stratified random of the same size ({self.race.confidence:.0%} interval "
            f"{self.number(low)} to {self.number(high)}); on rows that did not choose "
            f"{self.with_error(self.race.gain, self.race.gain_error)}"
        )

    def guarantee(self) -> str:
        """State how much worse than stratified random sampling the selection can be."""
        if self.share == 1:
            return "the selection is all data"
        if not self.race.won:
            return "not worse than stratified random: the selection is stratified random"
        known = (
            f"with {self.race.confidence:.0%} confidence (n = {self.race.rows:,}, {len(self.race.entries)} candidates)"
        )
        if self.race.at_least >= 0:
            return f"better than stratified random by at least {self.amount(self.race.at_least)} {known}"
        return f"not worse than stratified random by more than {self.amount(-self.race.at_least)} {known}"

    def all_data(self) -> str:
        """Compare the selection with all data."""
        if self.share == 1:
            return "the selection is all data"
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


def decision_card(decision: Decision, source: str, folder: str) -> list[tuple[str, str]]:
    """Return the summary of a decision as ten titled lines, for the name of the data and the folder of the files."""
    counts = decision.counts
    seconds, cpu = (sum(step[unit] for step in decision.cost.values()) for unit in ("seconds", "cpu_seconds"))
    quarantined = f", {counts['quarantined']:,} in quarantine" if counts["quarantined"] else ""
    listed = f" ({MOST_SUSPECTS:,} listed)" if decision.suspects > MOST_SUSPECTS else ""
    asked = ", the smallest share equivalent to all data" if decision.keep == "auto" and decision.share < 1 else ""
    return [
        ("data", f"{source}: {counts['in']:,} rows{quarantined}"),
        ("kept", f"{counts['kept']:,} rows, {decision.share:.0%}{asked}: {folder}/{KEPT_ROWS_FILE}"),
        ("removed", f"{counts['removed']:,} rows, each with its reason: {folder}/{REMOVED_ROWS_FILE}"),
        ("chosen", decision.chosen()),
        ("gain", decision.gain()),
        ("guarantee", decision.guarantee()),
        ("all data", decision.all_data()),
        ("suspects", f"{decision.suspects:,} rows whose label the probe contradicts{listed}: {folder}/{SUSPECTS_FILE}"),
        ("judged by", _judge(decision)),
        ("cost", f"{seconds:,.0f} s, {cpu:,.0f} s of CPU; evidence: {folder}/{REPORT_FILE}, {folder}/{DECISION_FILE}"),
    ]


def weak_probe(agreement: float) -> tuple[str, ...]:
    """Return a warning if the probe predicts the labels of too few rows for its suspects to mean much."""
    if agreement >= WEAK:
        return ()
    return (
        f"the probe predicts the labels of only {agreement:.0%} of the rows out of fold: most suspects are rows that "
        "it cannot tell, and fine-tuning may order the candidates otherwise (an encoder may tell more)",
    )


def _judge(decision: Decision) -> str:
    """Return what judged."""
    source = decision.features["source"]
    features = "word and character n-grams" if source == "ngrams" else f"vectors of {source}"
    return (
        f"a linear probe on {features}, right on {decision.agreement:.0%} of the labels; {decision.race.rows:,} rows "
        "out of fold; not by fine-tuning"
    )
