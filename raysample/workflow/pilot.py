"""The pilot: the best candidates of a race are fine-tuned on parts of the rows, against stratified random sampling.

A race is judged by a linear probe on frozen features. A pilot asks a fine-tuned model, on as many rows as a budget pays
for (`selection.race.pilot_plan`), and says whether the candidate is confirmed (`selection.race.pilot_evidence`). Each
training is stored when it ends, and not done twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, FineTuneConfig, ModelConfig
from raysample.core.errors import SelectionError
from raysample.data.row_sampling import sample_corpus
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.evidence import RacedRows, RaceRun
from raysample.selection.race.pilot_evidence import (
    NOT_CONFIRMED,
    PilotEntry,
    PilotResult,
    RoundDifference,
    pilot_entry,
    round_difference,
    without_pilot,
)
from raysample.selection.race.pilot_plan import LOOKS, PilotPlan, plan_pilot, visits_of
from raysample.selection.race.pilot_rounds import PilotRound, deal_round
from raysample.selection.race.race_result import RaceResult
from raysample.selection.race.race_rows import RaceRows
from raysample.training.pilot_training import PilotRun, PilotTraining
from raysample.version import __version__
from raysample.workflow.choice import Chooser

PILOT_FILE = "pilot.json"


@dataclass(frozen=True)
class PilotSettings:
    """What a pilot goes by.

    Attributes:
        recipe: the fine-tuning; its seed is that of the first round.
        budget: largest cost of the pilot, as a share of one training on all rows.
    """

    recipe: FineTuneConfig = field(default_factory=FineTuneConfig)
    budget: float = 0.3


def run_pilot(chooser: Chooser, race: RaceResult, settings: PilotSettings, tolerance: float) -> PilotResult:
    """Return the outcome of the pilot of a race's best candidates, read again if it was run before.

    Args:
        chooser: the rows, the encoder, and the folder to write to.
        race: a race with a winner.
        settings: recipe and budget.
        tolerance: loss that counts as none, in the objective's unit.

    Raises:
        SelectionError: there is no encoder to fine-tune.
        ModelError, TrainingError: the encoder cannot be loaded or trained.
    """
    encoder = chooser.settings.encoder
    if encoder is None:
        raise SelectionError("a pilot fine-tunes an encoder, and there is none", "give --encoder, or --no-pilot")
    rows, arms = chooser.sample, _survivors(race)
    plan = plan_pilot(
        len(rows),
        chooser.corpus.rows,
        rows.classes,
        race.share,
        settings.recipe.epochs,
        settings.budget,
        len(arms),
    )
    if plan.refused:
        return without_pilot(plan.refused, race.objective, tolerance, race.confidence)
    return _Pilot(chooser, race, settings, tolerance, plan, tuple(arms[: plan.arms]), encoder).result()


def _survivors(race: RaceResult) -> list[ArmConfig]:
    """Return the candidates that a race shows to be better, the best one first."""
    shown = [entry for entry in race.entries if entry.status in ("chosen", "better")]
    shown.sort(key=lambda entry: (entry.status != "chosen", -entry.differences[race.objective][0]))
    return [ArmConfig(**entry.arm) for entry in shown]


@dataclass(frozen=True, eq=False)
class _Pilot:
    """One pilot, from its plan to its result."""

    chooser: Chooser
    race: RaceResult
    settings: PilotSettings
    tolerance: float
    plan: PilotPlan
    arms: tuple[ArmConfig, ...]
    encoder: ModelConfig

    @cached_property
    def folder(self) -> str:
        """Folder of the trainings; its name has the identity of all that they depend on."""
        recipe, race = self.settings.recipe.recipe, self.race
        parts = [self.chooser.features.key, len(self.rows), race.share, race.objective, race.confidence, race.seed]
        key = storage.fingerprint(
            [__version__, *parts, recipe, asdict(self.plan), self.tolerance, [arm.to_dict() for arm in self.arms]]
        )
        return storage.join(self.chooser.folder, f"pilot-{key[:12]}")

    @cached_property
    def rows(self) -> RaceRows:
        """The rows of the race, in an order that depends on their ids alone."""
        return self.chooser.sample.ordered(self.race.seed)

    def result(self) -> PilotResult:
        """Run all rounds that are needed, or read the result of an earlier call."""
        place = storage.join(self.folder, PILOT_FILE)
        if storage.exists(place):
            with manifests.damaged(place):
                return PilotResult.from_dict(manifests.mapping(place, "pilot")["pilot"])
        names = ", ".join(arm.name for arm in self.arms)
        self.chooser.context.reporter.say(
            f"pilot: {names} fine-tuned against stratified random, up to {LOOKS[-1]} rounds of {self.plan.part:,} rows"
        )
        with self.chooser.clock.step("pilot"):
            found = self._rounds()
        storage.write_json(place, {"noun": "Pilot", "pilot": found.to_dict()})
        return found

    def _rounds(self) -> PilotResult:
        """Run rounds from look to look, until every candidate is confirmed, refuted or out of rounds."""
        began = time.perf_counter()
        self._write_rows()
        entries = dict[str, PilotEntry]()
        differences: dict[str, list[RoundDifference]] = {arm.name: [] for arm in self.arms}
        alive, speeds, spent, done = list(self.arms), list[float](), 0.0, 0
        for look in LOOKS:
            rounds = [self._round(number, alive) for number in range(done, look)]
            alive = self._without_refused(alive, rounds, entries)
            if not alive:
                break
            for each, found in zip(rounds, self._trained(rounds, alive, done), strict=True):
                speeds += [run.seconds_per_row for run in found.values()]
                spent += visits_of(self.plan, self.race.share * self.settings.recipe.epochs) * len(found)
                for name, difference in self._differences(each, found).items():
                    differences[name].append(difference)
            done = look
            for arm in alive:
                entries[arm.name] = pilot_entry(
                    arm, differences[arm.name], self.tolerance, self.race.confidence, len(self.arms)
                )
            alive = [arm for arm in alive if entries[arm.name].status == NOT_CONFIRMED]
        whole = self.chooser.corpus.rows * self.settings.recipe.epochs
        return PilotResult(
            tuple(entries[arm.name] for arm in self.arms),
            "",
            self.race.objective,
            self.tolerance,
            self.race.confidence,
            done,
            self.plan.part,
            self.plan.judged,
            self.plan.share,
            spent / whole,
            float(np.median(speeds)) if speeds else 0.0,
            round(time.perf_counter() - began, 3),
        )

    def _write_rows(self) -> None:
        """Write the texts of the rows for the workers, in the order of `rows`."""
        place = self._rows_file()
        if storage.exists(place):
            return
        texts = sample_corpus(self.chooser.corpus, len(self.rows), self.chooser.settings.seed)
        at = pa.array(np.asarray(self.rows.row_id, dtype=object), pa.string())
        order = np.argsort(texts["row_id"].to_numpy(zero_copy_only=False))
        found = order[np.searchsorted(texts["row_id"].to_numpy(zero_copy_only=False)[order], at.to_numpy(False))]
        storage.write_parquet(place, texts.take(pa.array(found)).select(["row_id", "text", "text_pair", "label"]))

    def _rows_file(self) -> str:
        """Return the file of the rows' texts."""
        return storage.join(self.folder, "rows.parquet")

    def _round(self, number: int, alive: Sequence[ArmConfig]) -> PilotRound:
        """Deal the rows of a round and draw the selections of all arms."""
        sampled = len(self.rows) < self.chooser.corpus.rows
        return deal_round(self.rows, self.plan, (INCUMBENT, *alive), self.race.share, self.race.seed, number, sampled)

    def _without_refused(
        self, alive: Sequence[ArmConfig], rounds: Sequence[PilotRound], entries: dict[str, PilotEntry]
    ) -> list[ArmConfig]:
        """Return the arms that can be followed in all rounds; the others get an entry that says why not."""
        going = list[ArmConfig]()
        for arm in alive:
            refusals = [each.refused[arm.name] for each in rounds if arm.name in each.refused]
            if refusals:
                entries[arm.name] = PilotEntry(arm.name, arm.to_dict(), f"refused: {refusals[0]}", 0.0, 0.0, 0.0, ())
            else:
                going.append(arm)
        return going

    def _trained(
        self, rounds: Sequence[PilotRound], alive: Sequence[ArmConfig], first: int
    ) -> Iterator[dict[str, PilotRun]]:
        """Yield the runs of each round by arm; trainings that were stored before are read."""
        names = [INCUMBENT.name, *(arm.name for arm in alive)]
        places = [[self._place(first + i, name) for name in names] for i in range(len(rounds))]
        missing = [
            (places[i][j], self._training(each, names[j], first + i))
            for i, each in enumerate(rounds)
            for j in range(len(names))
            if not storage.exists(places[i][j])
        ]
        context = self.chooser.context
        with context.reporter.bar("pilot", len(missing), "trainings") as bar:
            runs = context.executor.on_devices([training for _, training in missing])
            for done, ((place, _), run) in enumerate(zip(missing, runs, strict=True), start=1):
                _store(place, run)
                bar.to(done)
        for row in places:
            yield {name: _stored(place) for name, place in zip(names, row, strict=True)}

    def _place(self, number: int, arm: str) -> str:
        """Return the file of one training."""
        return storage.join(self.folder, f"round-{number}-{storage.fingerprint([arm])[:8]}.parquet")

    def _training(self, each: PilotRound, name: str, number: int) -> PilotTraining:
        """Return the training of one arm in one round."""
        return PilotTraining(
            self._rows_file(),
            self.chooser.corpus.labels,
            self.encoder,
            self.settings.recipe,
            each.part,
            np.stack([each.weights_of(INCUMBENT.name), each.weights_of(name)]),
            each.judged,
            self.settings.recipe.seed + number,
        )

    def _differences(self, each: PilotRound, found: dict[str, PilotRun]) -> dict[str, RoundDifference]:
        """Return each candidate's difference to stratified random sampling in one round."""
        group = None if self.rows.group is None else self.rows.group[each.judged]
        rows = RacedRows(self.rows.labels[each.judged], np.zeros(len(each.judged), np.int64), group)
        runs = {name: RaceRun(run.loss[None], run.predicted[None], 1.0) for name, run in found.items()}
        base = runs.pop(INCUMBENT.name)
        return {name: round_difference(self.race.objective, run, base, rows) for name, run in runs.items()}


def _store(place: str, run: PilotRun) -> None:
    """Store a training's predictions."""
    speed = np.full(len(run.loss), run.seconds_per_row)
    storage.write_parquet(place, pa.table({"loss": run.loss, "predicted": run.predicted, "seconds_per_row": speed}))


def _stored(place: str) -> PilotRun:
    """Read a training's predictions."""
    table = storage.read_parquet(place)
    loss, predicted = table["loss"].to_numpy(), table["predicted"].to_numpy()
    return PilotRun(loss, predicted, float(table["seconds_per_row"][0].as_py()))
