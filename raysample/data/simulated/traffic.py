"""Write simulated assistant traffic as date partitions. Streaming: memory does not grow with the number of rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import manifests, storage
from raysample.core.arrays import FloatArray, IntArray
from raysample.core.config import Columns, SimulatedConfig, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.simulated import logs
from raysample.data.simulated.intents import INTENTS
from raysample.data.simulated.language import phrase_book

SIMULATED_MANIFEST = "simulated.json"
STARTED = "simulated.started.json"
TRAFFIC_NOTE = (
    "This traffic is simulated: a program made it up from a grammar. Nobody said or typed any of it. "
    "A known share of the training labels is wrong on purpose; truth/ holds the true ones, row for row. "
    "The test days come after the training days, and every test label is true. "
    "Frequent utterances occur in training and test alike, as they do in real traffic."
)
FIRST_DAY = dt.date(2025, 1, 6)
# Random numbers are drawn for this many rows at a time, so that the rows do not depend on how files are cut.
TRAFFIC_CHUNK_ROWS = 16_384
# Odds of a confusable intent as the wrong label, relative to another intent of the same popularity.
CONFUSION = 60.0
# Standard deviation of a day's change of an intent's log popularity.
DRIFT = 0.12
TRAIN, TEST = "train", "test"
# First words of the seeds' spawn keys.
STREAMS = {TRAIN: 0, TEST: 1, "plan": 2}

_NAMES = pa.array([intent.name for intent in INTENTS])
_DOMAINS = pa.array([intent.domain for intent in INTENTS])


@dataclass
class _Counts:
    """Row counts of one part: all rows, rows with a wrong label, rows per class."""

    rows: int = 0
    wrong: int = 0
    classes: IntArray = field(default_factory=lambda: np.zeros(len(INTENTS), np.int64))


def write_traffic(config: SimulatedConfig, folder: str, *, rows_per_file: int = 50_000) -> None:
    """Write `train/`, `test/`, `truth/` as `date=YYYY-MM-DD/part-NNNNN.parquet`, and `simulated.json` last.

    The same configuration gives the same rows, however they are cut into files. A folder that already holds this
    traffic is left as it is; an interrupted run starts again.

    Columns of train and test: `id`, `text`, `intent` (the label), `domain`, `timestamp`; of truth: `id`, `label`,
    `true_label`. Where `config.labels` are not gold, train has `hypothesis` in place of `intent`, and `confidence`,
    `outcome`, `correction`.

    Each intent has at least one correctly labelled training row. Intent r of n (by popularity) has probability
    proportional to imbalance^(-r / (n - 1)) times a drift whose mean over the training days is 1.

    Raises:
        CorpusError: the folder holds something else.
        StorageError: the folder cannot be written.
    """
    if _begin(config, folder):
        return
    train = _write_days(config, folder, TRAIN, range(config.days), rows_per_file)
    test = _write_days(config, folder, TEST, range(config.days, config.days + _test_days(config)), rows_per_file)
    storage.write_json(storage.join(folder, SIMULATED_MANIFEST), _manifest(config, train, test))
    storage.remove(storage.join(folder, STARTED))


def _write_days(config: SimulatedConfig, folder: str, part: str, days: range, rows_per_file: int) -> _Counts:
    """Write the days of one part, with the true labels beside training rows, and return the row counts."""
    popularity, counts = _popularity(config), _Counts()
    for day in days:
        for number, table in enumerate(_cut(_day(config, popularity[day], part, day, counts), rows_per_file)):
            name = f"date={_date(day)}/part-{number:05d}.parquet"
            if part == TRAIN:
                label = "hypothesis" if _logged(config) else "intent"
                truth = table.select(["id", label, "true"]).rename_columns(["id", "label", "true_label"])
                storage.write_parquet(storage.join(folder, "truth", name), truth)
            storage.write_parquet(storage.join(folder, part, name), table.drop_columns(["true"]))
    return counts


def _config_of(manifest: str) -> SimulatedConfig:
    """Return the configuration that a manifest records."""
    config = manifests.mapping(manifest, "config")["config"]
    with manifests.damaged(manifest):
        return SimulatedConfig.model_validate(config)


def simulated_sources(folder: str) -> tuple[SourceConfig, SourceConfig]:
    """Return training and test source of finished traffic in a folder; raises CorpusError if unfinished."""
    if not storage.exists(storage.join(folder, SIMULATED_MANIFEST)):
        raise CorpusError(f"{folder!r} holds no finished simulated traffic", "write it first with write_traffic")
    config = _config_of(storage.join(folder, SIMULATED_MANIFEST))
    columns = _columns(config)
    base = storage.absolute(folder)
    train, test = (
        SourceConfig(path=storage.join(base, part), format="parquet", columns=columns) for part in (TRAIN, TEST)
    )
    if _logged(config):
        logged = columns.model_copy(update={"label": "hypothesis"})
        train = train.model_copy(update={"columns": logged, "labels": config.labels})
    return train, test


def _columns(config: SimulatedConfig) -> Columns:
    """Return the column names by role; for a hierarchical label, the other level serves as the group."""
    plain = Columns(text="text", label="intent", id="id", group="domain", timestamp="timestamp")
    if config.level is None:
        return plain
    group = "domain" if config.level == "intent" else "intent"
    return plain.model_copy(update={"label": config.level, "levels": ["domain", "intent"], "group": group})


def _logged(config: SimulatedConfig) -> bool:
    """Return whether the training days are logs of a production model without annotation."""
    return config.labels.origin != "gold"


def _test_days(config: SimulatedConfig) -> int:
    """Return the number of days of test traffic after the training days: one per started week."""
    return -(-config.days // 7)


def _begin(config: SimulatedConfig, folder: str) -> bool:
    """Return whether the traffic exists; clear an interrupted run, refuse a folder with other content."""
    manifest, started = storage.join(folder, SIMULATED_MANIFEST), storage.join(folder, STARTED)
    parts = [storage.join(folder, part) for part in ("train", "test", "truth")]
    if storage.exists(manifest):
        if _config_of(manifest) == config:
            return True
        raise CorpusError(f"{folder!r} holds other simulated traffic", "choose another folder, or delete this one")
    if storage.exists(started):
        for part in parts:
            storage.remove(part)
    elif any(storage.exists(part) for part in parts):
        raise CorpusError(f"{folder!r} holds files that are not simulated traffic", "choose an empty folder")
    storage.write_json(started, {"noun": "SimulatedTraffic", "config": config.to_dict()})
    return False


def _popularity(config: SimulatedConfig) -> FloatArray:
    """Return each day's cumulative intent probabilities [days, intents], a random walk around the plan."""
    rank = np.arange(len(INTENTS)) / (len(INTENTS) - 1)
    days = config.days + _test_days(config)
    walk = np.exp(
        np.cumsum(DRIFT * _rng(config, STREAMS["plan"]).standard_normal((days, len(INTENTS))), axis=0).clip(-1, 1)
    )
    weights = config.imbalance**-rank * walk / walk[: config.days].mean(axis=0)
    return _running(weights)


def _mistakes(config: SimulatedConfig) -> FloatArray:
    """Return, flat, i + the cumulative probabilities of the wrong labels of intent i, for each intent i."""
    names = [intent.name for intent in INTENTS]
    popularity = config.imbalance ** -(np.arange(len(names)) / (len(names) - 1))
    weights = np.tile(popularity, (len(names), 1))
    for i, intent in enumerate(INTENTS):
        weights[i, [names.index(other) for other in intent.confusable]] *= CONFUSION
    np.fill_diagonal(weights, 0.0)
    return (_running(weights) + np.arange(len(names))[:, None]).ravel()


def _running(weights: FloatArray) -> FloatArray:
    """Return cumulative shares along each row; the last is exactly 1."""
    edges: FloatArray = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    edges[:, -1] = 1.0
    return edges


def _rng(config: SimulatedConfig, *where: int) -> np.random.Generator:
    """Return a generator for one purpose: counter-based, so that each day and chunk has its own stream."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(config.seed, spawn_key=where)))


def _date(day: int) -> str:
    """Return a day's number as an ISO date."""
    return (FIRST_DAY + dt.timedelta(days=day)).isoformat()


def _day(config: SimulatedConfig, popularity: FloatArray, part: str, day: int, counts: _Counts) -> Iterator[pa.Table]:
    """Yield one day's rows in chunks, adding them to `counts`."""
    first, days = (0, config.days) if part == TRAIN else (config.days, _test_days(config))
    rows = config.rows if part == TRAIN else config.test_rows
    start, stop = (rows * (day - first + k) // days for k in (0, 1))
    mistakes = _mistakes(config)
    # One random stream per chunk: rows do not depend on file sizes or on the order of days.
    for number, low in enumerate(range(start, stop, TRAFFIC_CHUNK_ROWS)):
        rng = _rng(config, STREAMS[part], day, number)
        places = np.arange(low, min(low + TRAFFIC_CHUNK_ROWS, stop))
        true = np.minimum(np.searchsorted(popularity, rng.random(len(places)), side="right"), len(INTENTS) - 1)
        given, log = true, dict[str, pa.Array]()
        if part == TRAIN:
            true, sure = _every_intent(true, places, rows)
            doubt = np.full(len(true), config.wrong_labels)
            if _logged(config):
                doubt = logs.doubt(config.wrong_labels, sure, rng)
            given = _mislabelled(true, doubt, sure, mistakes, rng)
            if _logged(config):
                log = logs.log_columns(_NAMES.take(pa.array(true)), given == true, 1 - doubt, sure, rng)
        counts.rows += len(places)
        counts.wrong += int((given != true).sum())
        counts.classes += np.bincount(given, minlength=len(INTENTS))
        yield _table(day, true, given, places - start, stop - start, rng, log)


def _every_intent(true: IntArray, places: IntArray, rows: int) -> tuple[IntArray, Any]:
    """Assign one row to every intent, evenly spaced over the training days; return (intents, mask of these rows)."""
    step = rows // len(INTENTS)
    sure = (places % step == 0) & (places // step < len(INTENTS))
    return np.where(sure, places // step, true), sure


def _mislabelled(
    true: IntArray, doubt: FloatArray, sure: Any, mistakes: FloatArray, rng: np.random.Generator
) -> IntArray:
    """Return labels [rows]: the true intent, or with probability `doubt` a wrong one; never wrong where `sure`."""
    wrong = (rng.random(len(true)) < doubt) & ~sure
    at = np.searchsorted(mistakes, true + rng.random(len(true)), side="right")
    return np.where(wrong, np.minimum(at - true * len(INTENTS), len(INTENTS) - 1), true)


def _table(
    day: int,
    true: IntArray,
    given: IntArray,
    places: IntArray,
    rows: int,
    rng: np.random.Generator,
    log: dict[str, pa.Array],
) -> pa.Table:
    """Return rows as a table: ids, utterances, labels, log columns, domain of the label, timestamps over the day."""
    midnight = int(np.datetime64(_date(day), "s").astype(np.int64))
    seconds = midnight + places * 86_400 // rows
    numbers = pc.utf8_lpad(pa.array(places).cast(pa.string()), 9, "0")
    labels = pa.array(given)
    return pa.table(
        {
            "id": pc.binary_join_element_wise(f"sim-{_date(day)}", numbers, "-"),
            "text": phrase_book().draw(true, rng),
            "hypothesis" if log else "intent": _NAMES.take(labels),
            **log,
            "domain": _DOMAINS.take(labels),
            "timestamp": pa.array(seconds).cast(pa.timestamp("s")).cast(pa.string()),
            "true": _NAMES.take(pa.array(true)),
        }
    )


def _cut(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield a stream of tables re-cut to `rows` rows each."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += len(table)
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            held, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held).combine_chunks()


def _manifest(config: SimulatedConfig, train: _Counts, test: _Counts) -> dict[str, Any]:
    """Return the manifest: configuration, and row and class counts of both parts."""
    parts = {}
    for name, counts in (("train", train), ("test", test)):
        classes = {intent.name: int(n) for intent, n in zip(INTENTS, counts.classes, strict=True)}
        parts[name] = {"rows": counts.rows, "wrong_labels": counts.wrong, "classes": classes}
    note = f"{TRAFFIC_NOTE} {logs.LOG_NOTE}" if _logged(config) else TRAFFIC_NOTE
    return {"noun": "SimulatedTraffic", "note": note, "config": config.to_dict(), "counts": parts}
