"""Labelled rows with known label errors (real corpora, or simulated traffic), and how well a score finds the errors."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from harness.outcome import Options
from raysample.core.config import Columns, SimulatedConfig, SourceConfig
from raysample.data.simulated import write_traffic

Floats = NDArray[np.floating[Any]]
TRIALS = ("snli", "clinc", "snli-noise", "clinc-noise", "snli-authors", "hutto")
TEST_ROWS, FOLDS = 2_000, 5


@dataclass(frozen=True)
class Trial:
    """Rows to train on and to score, and what is known about their labels.

    Attributes:
        name: how tables call it.
        rows: id, text, label, perhaps text_pair; and `wrong`, whether the label is wrong, if that is known.
        test: the same columns, for the accuracy.
        more: rows that are trained on beside `rows` but not scored.
        bars: what a frozen encoder with a classifier on top reached on these errors: AUROC, precision at k.
    """

    name: str
    rows: pd.DataFrame
    test: pd.DataFrame
    more: pd.DataFrame | None = None
    bars: tuple[float, float] | None = None


def real_trial(name: str, folder: Path, rows: int | None, noise: float) -> Trial:
    """Return a trial of TRIALS with at most so many rows; `-noise` redraws the share `noise` of the labels."""

    def read(stem: str) -> pd.DataFrame:
        """Return the labelled rows of a file."""
        frame: pd.DataFrame = pq.read_table(folder / f"{stem}.parquet").to_pandas()
        return frame[frame["label"].notna()]

    if name == "snli-authors":  # wrong: the other annotators outvoted the author
        frame = read("snli_dev_annotated")
        frame = frame[frame["author_label"].notna() & frame["author_label_is_wrong"].notna()]
        frame = frame.assign(label=frame["author_label"], wrong=frame["author_label_is_wrong"].astype(bool))
        more = read("snli_train_a").sample(frac=1.0, random_state=0)
        test, more = more[:TEST_ROWS], more[TEST_ROWS:][:rows]
        return Trial("snli_dev_annotated, authors' labels", some(frame, rows), test, more, (0.713, 0.188))
    if name == "hutto":  # tweets labelled by their mean rating; wrong: the majority of the raters says otherwise
        frame = read("hutto_sentiment_raters")
        frame = frame[(frame["domain"] == "tweets") & frame["rater_majority"].notna()]
        frame = frame.assign(wrong=frame["label"] != frame["rater_majority"])
        train, test = (frame[frame["split"] == part] for part in ("train", "test"))
        return Trial("hutto tweets, labels by mean rating", some(train, rows), test, None, (0.790, 0.360))
    if name.startswith("snli"):
        stem, train, test = "snli_train_a", read("snli_train_a"), read("snli_dev_annotated")
    else:
        stem, frame = "clinc150_full", read("clinc150_full")
        train, test = (frame[frame["split"] == part] for part in ("train", "test"))
    train, test = some(train, rows), some(test, TEST_ROWS)
    if name.endswith("-noise"):
        return Trial(f"{stem}, {noise:.0%} of labels redrawn", with_noise(train, noise), test)
    return Trial(stem, train, test)


def simulated_trial(rows: int, noise: float | None) -> Trial:
    """Return a trial on *simulated* traffic: its own label errors (None), or the true labels with injected ones."""
    with tempfile.TemporaryDirectory(prefix="raysample-traffic-") as folder:
        write_traffic(SimulatedConfig(rows=rows, test_rows=max(200, rows // 5), imbalance=5.0), folder)
        train, truth, test = (pq.read_table(f"{folder}/{part}").to_pandas() for part in ("train", "truth", "test"))
    joined = train.merge(truth[["id", "true_label"]], on="id", validate="one_to_one")
    joined, test = (frame.rename(columns={"intent": "label"}) for frame in (joined, test))
    if noise is None:
        own = joined.assign(wrong=joined["label"] != joined["true_label"])
        return Trial("simulated traffic, its own wrong labels", own, test)
    redrawn = with_noise(joined.assign(label=joined["true_label"]), noise)
    return Trial(f"simulated traffic, {noise:.0%} of labels redrawn", redrawn, test)


def add_trial_options(parser: Options, names: Sequence[str], quick_rows: int) -> None:
    """Add the options that say which rows and which encoder a trial takes."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of the real corpora; else simulated traffic")
    parser.add_argument("--trials", choices=TRIALS, nargs="+", default=names, help=f"default: {' '.join(names)}")
    parser.add_argument("--model", default="tiny", metavar="FOLDER", help="an encoder's folder, or tiny")
    parser.size("--rows", None, quick_rows, "at most, of a trial; None: all")


def trials(options: Namespace, own: bool, noise: float = 0.0) -> Iterator[Trial]:
    """Yield the trials of the options; without `--data` one of simulated traffic, with its own errors or redrawn."""
    if options.data is None:
        print("no --data folder: simulated traffic instead of real corpora")
        yield simulated_trial(max(500, options.rows or 10_000), None if own else noise)
        return
    for name in options.trials:
        yield real_trial(name, options.data, options.rows, noise)


def some(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """Return that many rows, drawn by a seed; all of them for None or if there are fewer."""
    return frame if rows is None or rows >= len(frame) else frame.sample(rows, random_state=0)


def with_noise(frame: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """Return the rows with round(share · rows) labels redrawn uniformly among the other classes, and `wrong`."""
    rng = np.random.default_rng([seed, round(1000 * share)])
    classes = np.sort(frame["label"].unique())
    codes = np.searchsorted(classes, frame["label"].to_numpy())
    wrong = np.zeros(len(frame), bool)
    wrong[rng.permutation(len(frame))[: round(share * len(frame))]] = True
    codes[wrong] = (codes[wrong] + rng.integers(1, len(classes), int(wrong.sum()))) % len(classes)
    return frame.assign(label=classes[codes], wrong=wrong)


def written(frame: pd.DataFrame, path: Path) -> SourceConfig:
    """Write rows as Parquet, without what is known about their labels, and return them as a source."""
    columns = [name for name in ("id", "text", "text_pair", "label") if name in frame]
    pq.write_table(pa.Table.from_pandas(frame[columns], preserve_index=False), path)
    pair = "text_pair" if "text_pair" in columns else None
    roles = Columns(id="id", text="text", text_pair=pair, label="label")
    return SourceConfig(path=str(path), columns=roles, unseen_labels="quarantine", max_quarantined=1.0)


def detection(hardness: Floats, wrong: NDArray[np.bool_]) -> dict[str, float]:
    """Return AUROC, average precision, and precision among the k hardest rows, k the number of wrong labels."""
    hardest = np.argsort(-hardness, kind="stable")[: int(wrong.sum())]
    return {
        "auroc": float(roc_auc_score(wrong, hardness)),
        "average_precision": float(average_precision_score(wrong, hardness)),
        "precision_at_k": float(wrong[hardest].mean()),
    }


def word_baseline(rows: pd.DataFrame) -> Floats:
    """Return 1 − p(label) of every row, out of fold, by a logistic regression on words: another family of model.

    Classes with fewer rows than folds count as wholly unknown: their rows get 1.
    """
    texts = rows["text"] + (" " + rows["text_pair"] if "text_pair" in rows else "")
    known = (rows["label"].map(rows["label"].value_counts()) >= FOLDS).to_numpy()
    labels = rows["label"].to_numpy()[known]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=30_000).fit_transform(texts[known])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    model = LogisticRegression(C=3, max_iter=150, tol=1e-3)
    found = cross_val_predict(model, words, labels, cv=folds, method="predict_proba")
    hardness = np.ones(len(rows))
    hardness[known] = 1 - found[np.arange(len(labels)), np.searchsorted(np.unique(labels), labels)]
    return hardness
