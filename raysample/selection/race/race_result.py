"""The result of a race as JSON-able data: the arm to take, why, and the evidence on every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.evaluation import Difference
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.evidence import RACE_OBJECTIVES


@dataclass(frozen=True)
class RaceSettings:
    """What a race goes by.

    Attributes:
        share: share of the rows that selections keep.
        objective: `accuracy`, `macro_f1`, `worst_group` or `log_loss`.
        confidence: 1 − the chance of a wrong win.
        seed: of folds, draws and scores.
        device: where probes are fitted.
        sampled: whether the rows are a sample of more; then scores are those of a `ProbeScorer`, which can score all.
    """

    share: float
    objective: str = "accuracy"
    confidence: float = 0.95
    seed: int = 0
    device: str = "cpu"
    sampled: bool = False

    def __post_init__(self) -> None:
        if self.objective not in RACE_OBJECTIVES or not 0 < self.share < 1 or not 0.5 < self.confidence < 1:
            raise SelectionError(
                f"expected a share in (0, 1), a confidence in (0.5, 1) and an objective of {RACE_OBJECTIVES}, got "
                f"{self.share!r}, {self.confidence!r}, {self.objective!r}",
                "correct it",
            )


@dataclass(frozen=True)
class RaceEntry:
    """A candidate in a race.

    Attributes:
        name, arm: the candidate.
        status: `chosen`, `better`, `not shown to be better`, `left out after n rows`, `refused: …` or `not run`.
        differences: by objective the mean difference to stratified random sampling and its interval (mean, low, high),
            higher is better for the candidate; log-loss in nats, with its sign turned.
        p: one-sided p-value of the race's objective, corrected for all candidates; 1 if it was left out.
    """

    name: str
    arm: dict[str, Any]
    status: str
    differences: dict[str, tuple[float, float, float]]
    p: float


@dataclass(frozen=True)
class RaceResult:
    """The outcome of a race.

    Attributes:
        arm: the arm to take: the winner's, or that of stratified random sampling.
        won: whether a candidate was shown to be better.
        reason: a sentence.
        share, objective, confidence, seed: the settings.
        rows: number of judged rows; 0 if there was no race.
        gain: what choosing gained on rows that did not choose (`estimate_of_winners`), 0 without a winner.
        gain_error: its standard error over rows.
        entries: the candidates in their order.
        notes: what was cut down, as sentences.
        at_least: lower bound of the winner's difference to stratified random sampling, one-sided, corrected for all
            candidates (Bonferroni); 0 without a winner, since stratified random sampling is taken then.
        values: the objective by the probe: `all_data`, `incumbent` and `chosen`; empty if there was no race.
        to_all_data: mean and standard error of the difference of the selection to all data, on rows that did not
            choose; None if there was no race.
    """

    arm: dict[str, Any]
    won: bool
    reason: str
    share: float
    objective: str
    confidence: float
    seed: int
    rows: int
    gain: float
    gain_error: float
    entries: tuple[RaceEntry, ...]
    notes: tuple[str, ...] = ()
    at_least: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    to_all_data: tuple[float, float] | None = None

    @staticmethod
    def of_incumbent(
        settings: RaceSettings, reason: str, entries: Sequence[RaceEntry], notes: Sequence[str] = ()
    ) -> RaceResult:
        """Return the result that takes stratified random sampling."""
        own = (settings.share, settings.objective, settings.confidence, settings.seed)
        return RaceResult(INCUMBENT.to_dict(), False, reason, *own, 0, 0.0, 0.0, tuple(entries), tuple(notes))

    @property
    def chosen_arm(self) -> ArmConfig:
        """The arm to take."""
        return ArmConfig(**self.arm)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> RaceResult:
        """Return a result from the data of `to_dict`."""
        entries = tuple(
            RaceEntry(**{**each, "differences": {name: tuple(three) for name, three in each["differences"].items()}})
            for each in data["entries"]
        )
        to_all = None if data["to_all_data"] is None else tuple(data["to_all_data"])
        return RaceResult(**{**data, "entries": entries, "notes": tuple(data["notes"]), "to_all_data": to_all})


def entry(
    arm: ArmConfig,
    status: str,
    differences: Mapping[str, Difference] | None = None,
    p: float = 1.0,
    confidence: float = 0.95,
) -> RaceEntry:
    """Return the entry of a candidate."""
    told = {}
    for name, found in (differences or {}).items():
        low, high = found.bounds(confidence)
        told[name] = (float(found.mean), float(low), float(high))
    return RaceEntry(arm.name, arm.to_dict(), status, told, p)
