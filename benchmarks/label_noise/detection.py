"""How well scores find wrong labels, and how they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]


def detection(hardness: Floats, wrong: Bools) -> dict[str, float]:
    """Return AUROC, average precision, and precision among the k hardest rows, k the number of wrong labels."""
    k = int(wrong.sum())
    hardest = np.argsort(-hardness, kind="stable")[:k]
    return {
        "auroc": float(roc_auc_score(wrong, hardness)),
        "average_precision": float(average_precision_score(wrong, hardness)),
        "precision_at_k": float(wrong[hardest].mean()),
    }


def ranks(columns: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlation between all columns."""
    return columns.rank().corr()


def baseline(rows: pd.DataFrame, seed: int = 0) -> Floats:
    """Return 1 − p(label) of every row, out of fold, by a logistic regression on words: another family of model.

    Classes with fewer rows than folds count as wholly unknown: their rows get 1.
    """
    texts = rows["text"] + (" " + rows["text_pair"] if "text_pair" in rows else "")
    counts = rows["label"].map(rows["label"].value_counts())
    known = (counts >= FOLDS).to_numpy()
    labels = rows["label"].to_numpy()[known]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=30_000).fit_transform(texts[known])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(C=3, max_iter=150, tol=1e-3)
    found = cross_val_predict(model, words, labels, cv=folds, method="predict_proba")
    hardness = np.ones(len(rows))
    hardness[known] = 1 - found[np.arange(len(labels)), np.searchsorted(np.unique(labels), labels)]
    return hardness


FOLDS = 5
