"""What is trained and scored: real corpora with injected or annotator-known label errors, or simulated traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.config import Columns, SimulatedConfig, SourceConfig
from raysample.data.simulated import write_traffic

TEST_ROWS = 2_000


@dataclass(frozen=True)
class Trial:
    """Rows to train on and to score, and what is known about their labels.

    Attributes:
        name: how tables call it.
        rows: id, text, label, perhaps text_pair; and `wrong`, whether the label is wrong, where that is known.
        test: the same columns, for the accuracy.
        more: rows that are trained on beside `rows` but not scored.
        bars: what a frozen encoder with a classifier on top reached on these errors: AUROC, precision at k.
    """

    name: str
    rows: pd.DataFrame
    test: pd.DataFrame
    more: pd.DataFrame | None = None
    bars: tuple[float, float] | None = None


def read(path: Path) -> pd.DataFrame:
    """Return the rows of a Parquet file that have a label."""
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame[frame["label"].notna()]


def some(frame: pd.DataFrame, rows: int | None, seed: int = 0) -> pd.DataFrame:
    """Return that many rows, drawn by a seed; all of them for None or where there are fewer."""
    return frame if rows is None or rows >= len(frame) else frame.sample(rows, random_state=seed)


def with_noise(frame: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """Return the rows with round(share · rows) labels redrawn uniformly among the other classes, and `wrong`."""
    rng = np.random.default_rng([seed, round(1000 * share)])
    classes = np.sort(frame["label"].unique())
    codes = np.searchsorted(classes, frame["label"].to_numpy())
    wrong = np.zeros(len(frame), bool)
    wrong[rng.permutation(len(frame))[: round(share * len(frame))]] = True
    codes[wrong] = (codes[wrong] + rng.integers(1, len(classes), int(wrong.sum()))) % len(classes)
    return frame.assign(label=classes[codes], wrong=wrong)


def snli(folder: Path, rows: int | None, _noise: float) -> Trial:
    """SNLI as it is."""
    test = some(read(folder / "snli_dev_annotated.parquet"), TEST_ROWS)
    return Trial("snli_train_a", some(read(folder / "snli_train_a.parquet"), rows), test)


def clinc(folder: Path, rows: int | None, _noise: float) -> Trial:
    """CLINC150 as it is."""
    frame = read(folder / "clinc150_full.parquet")
    test = some(frame[frame["split"] == "test"], TEST_ROWS)
    return Trial("clinc150_full", some(frame[frame["split"] == "train"], rows), test)


def noisy(clean: Callable[[Path, int | None, float], Trial]) -> Callable[[Path, int | None, float], Trial]:
    """Return the trial with injected label errors."""

    def made(folder: Path, rows: int | None, noise: float) -> Trial:
        trial = clean(folder, rows, noise)
        return Trial(f"{trial.name}, {noise:.0%} of labels redrawn", with_noise(trial.rows, noise), trial.test)

    return made


def snli_authors(folder: Path, rows: int | None, _noise: float) -> Trial:
    """SNLI's annotated pairs with their authors' labels; wrong where the other annotators outvoted the author."""
    frame = read(folder / "snli_dev_annotated.parquet")
    frame = frame[frame["author_label"].notna() & frame["author_label_is_wrong"].notna()]
    frame = frame.assign(label=frame["author_label"], wrong=frame["author_label_is_wrong"].astype(bool))
    train = read(folder / "snli_train_a.parquet").sample(frac=1.0, random_state=0)
    more = None if rows is None else rows
    return Trial(
        "snli_dev_annotated, authors' labels",
        some(frame, rows),
        train[:TEST_ROWS],
        train[TEST_ROWS:][:more],
        (0.713, 0.188),
    )


def hutto(folder: Path, rows: int | None, _noise: float) -> Trial:
    """Tweets labelled by the mean of their ratings; wrong where the majority of the raters says otherwise."""
    frame = read(folder / "hutto_sentiment_raters.parquet")
    frame = frame[(frame["domain"] == "tweets") & frame["rater_majority"].notna()]
    frame = frame.assign(wrong=frame["label"] != frame["rater_majority"])
    train, test = (frame[frame["split"] == part] for part in ("train", "test"))
    return Trial("hutto tweets, labels by mean rating", some(train, rows), test, None, (0.790, 0.360))


TRIALS: dict[str, Callable[[Path, int | None, float], Trial]] = {
    "snli": snli,
    "clinc": clinc,
    "snli-noise": noisy(snli),
    "clinc-noise": noisy(clinc),
    "snli-authors": snli_authors,
    "hutto": hutto,
}


def simulated(folder: Path, rows: int, noise: float) -> tuple[Trial, Trial]:
    """Return two trials on *simulated* traffic: its own label errors, and the true labels with injected ones."""
    write_traffic(SimulatedConfig(rows=rows, test_rows=max(200, rows // 5), imbalance=5.0), str(folder))
    train, truth, test = (pq.read_table(folder / part).to_pandas() for part in ("train", "truth", "test"))
    joined = train.merge(truth[["id", "true_label"]], on="id", validate="one_to_one").rename(
        columns={"intent": "label"}
    )
    test = test.rename(columns={"intent": "label"})
    own = joined.assign(wrong=joined["label"] != joined["true_label"])
    redrawn = with_noise(joined.assign(label=joined["true_label"]), noise)
    name = f"simulated traffic, {noise:.0%} of labels redrawn"
    return Trial("simulated traffic, its own wrong labels", own, test), Trial(name, redrawn, test)


def written(frame: pd.DataFrame, path: Path) -> SourceConfig:
    """Write rows as Parquet, without what is known about their labels, and return them as a source."""
    columns = [name for name in ("id", "text", "text_pair", "label") if name in frame]
    pq.write_table(pa.Table.from_pandas(frame[columns], preserve_index=False), path)
    pair = "text_pair" if "text_pair" in columns else None
    given = Columns(id="id", text="text", text_pair=pair, label="label")
    return SourceConfig(path=str(path), columns=given, unseen_labels="quarantine", max_quarantined=1.0)
