"""What `auto` stands for in a comparison, and the sentences about it: evidence, gain, cost, suspects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raysample.core import storage
from raysample.core.config import ArmConfig
from raysample.data.score_table import ScoreTable
from raysample.evaluation import FULL
from raysample.evaluation.arms import STRATIFIED
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.findings import points
from raysample.selection.policies import AUTO
from raysample.selection.probe.probe_table import LabelAgreement
from raysample.selection.race.decision import SUSPECTS_FILE
from raysample.selection.race.race_result import RaceResult
from raysample.workflow.choice import Chooser
from raysample.workflow.pruned_files import write_suspects


@dataclass(frozen=True)
class AutoChoice:
    """The choice at one fraction.

    Attributes:
        race: the race on the training rows. table: the scores that the chosen arm reads.
        agreement: how the labels agree with the probe.
        suspects: the file of the rows whose label the probe contradicts.
        seconds: seconds of the features and of all races so far.
    """

    race: RaceResult
    table: ScoreTable
    agreement: LabelAgreement
    suspects: str
    seconds: float

    @property
    def arm(self) -> ArmConfig:
        """The chosen arm."""
        return self.race.chosen_arm


def choose_auto(chooser: Chooser, fraction: float, show_text: bool) -> AutoChoice:
    """Race at a fraction, score all rows for the winner, and list the suspects, with their texts if wanted."""
    race = chooser.race(fraction)
    table, agreement = chooser.table(race.chosen_arm)
    write_suspects(chooser.corpus, table, chooser.folder, show_text)
    place = storage.join(chooser.folder, SUSPECTS_FILE)
    return AutoChoice(race, table, agreement, place, chooser.feature_seconds + chooser.race_seconds)


def auto_remarks(choices: Mapping[float, AutoChoice], comparison: Comparison) -> tuple[str, ...]:
    """Return sentences on the arms `auto` of a comparison: what was chosen, what it gained, what choosing cost."""
    if not choices:
        return ()
    said = [sentence for fraction, one in choices.items() for sentence in _chosen(fraction, one, comparison)]
    last = list(choices.values())[-1]
    trainings = [run.metrics["train_seconds"] for run in comparison.runs if run.arm == FULL]
    training = sum(trainings) / len(trainings)
    cost = f"Choosing took {last.seconds:,.0f} s, {last.seconds / training:.2g} of one fine-tuning on all rows"
    suspects, rows = last.agreement.suspects, last.agreement.rows
    listed = f"{suspects:,} of {rows:,} training rows have a label that the probe contradicts: {last.suspects}"
    return (*said, f"{cost} ({training:,.0f} s).", listed)


def _chosen(fraction: float, one: AutoChoice, comparison: Comparison) -> list[str]:
    """Return sentences on the choice at one fraction."""
    race, title = one.race, f"auto at {fraction:.0%} of the data"
    if not race.won:
        return [f"{title} is stratified random sampling: {race.reason}."]
    gain = f"{100 * race.gain:+.2f} ± {100 * race.gain_error:.2f} points"
    said = (
        f"{title} is {one.arm.name}, chosen on {race.rows:,} training rows: by a linear probe {gain} over stratified "
        "random sampling, on rows that did not choose."
    )
    headline = comparison.headline()
    for verdict in headline.judgements:
        same = (verdict.arm, verdict.fraction, verdict.baseline) == (AUTO, fraction, STRATIFIED)
        if same and verdict.objective == comparison.objective:
            where = "" if comparison.new_texts is None else f" {comparison.new_texts.scope}"
            return [said, f"Fine-tuned it has {points(verdict, comparison.confidence)} over it{where}."]
    return [said]
