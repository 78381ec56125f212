"""Utterances of intents: every phrase of the grammar with its probability, carrier words around it, and slips."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import FloatArray, IntArray
from raysample.data.simulated.intents import INTENTS, SLOTS

# Carrier words before and after a command, with their probabilities.
BEFORE = (("", 0.82), ("please ", 0.06), ("hey ", 0.05), ("ok ", 0.03), ("um ", 0.02), ("so ", 0.02))
AFTER = (("", 0.88), (" please", 0.06), (" now", 0.04), (" thanks", 0.02))
TYPING_SLIPS = 0.08
HEARING_SLIPS = 0.08

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYBOARD for i, key in enumerate(row)}
_PAIRS = """
for four, to two, two to, four for, light lite, lights likes, weather whether, play pray, read red, write right, add at,
hear here, hour our, time thyme, timer tyler, alarm alan, one won, eight ate, rain reign, song sung, call coal, of off,
text next, next necks, dim them, list lisp, cancel council, volume value, lamp lamb, mom mum, order older, off of,
minute minced, temperature temper, remind rewind, stop shop, set said, what's watts, is his, warmer warm, need knead
"""
_SOUNDS_LIKE: dict[str, str] = dict(pair.split() for pair in _PAIRS.split(","))


@dataclass(frozen=True)
class PhraseBook:
    """All utterances of the grammar, intent after intent.

    Attributes:
        texts: the utterances.
        edges: cumulative probabilities; those of intent i end at i + 1.
        last: index of each intent's last utterance.
    """

    texts: pa.Array
    edges: FloatArray
    last: IntArray

    def draw(self, intents: IntArray, rng: np.random.Generator) -> pa.Array:
        """Return one utterance for each intent [n], with carriers and slips."""
        at = np.searchsorted(self.edges, intents + rng.random(len(intents)), side="right")
        texts = self.texts.take(pa.array(np.minimum(at, self.last[intents])))
        before, after = (_carriers(carriers, len(intents), rng) for carriers in (BEFORE, AFTER))
        return _slipped(pc.binary_join_element_wise(before, texts, after, ""), rng)


@cache
def phrase_book() -> PhraseBook:
    """Expand the grammar: the probability of a phrase or filler is proportional to 1/k, k its place in its list."""
    texts: list[str] = []
    edges, last = [], []
    for i, intent in enumerate(INTENTS):
        weights: list[float] = []
        for place, phrase in enumerate(intent.phrases, start=1):
            for text, share in _fillings(phrase):
                texts.append(text)
                weights.append(share / place)
        edges.append(i + np.cumsum(weights) / np.sum(weights))
        last.append(len(texts) - 1)
    return PhraseBook(pa.array(texts), np.concatenate(edges), np.array(last))


def _fillings(phrase: str) -> list[tuple[str, float]]:
    """Return every expansion of a phrase's slots with its probability."""
    parts = re.split(r"{(\w+)}", phrase)
    choices = [_shares(SLOTS[part]) if i % 2 else [(part, 1.0)] for i, part in enumerate(parts)]
    return [
        ("".join(text for text, _ in chosen), float(np.prod([share for _, share in chosen])))
        for chosen in itertools.product(*choices)
    ]


def _shares(fillers: Sequence[str]) -> list[tuple[str, float]]:
    """Return fillers with probabilities proportional to 1/k."""
    total = sum(1 / place for place in range(1, len(fillers) + 1))
    return [(filler, 1 / place / total) for place, filler in enumerate(fillers, start=1)]


def _carriers(carriers: Sequence[tuple[str, float]], count: int, rng: np.random.Generator) -> pa.Array:
    """Return `count` carrier words drawn by their probabilities."""
    edges = np.cumsum([share for _, share in carriers])
    at = np.minimum(np.searchsorted(edges, rng.random(count), side="right"), len(carriers) - 1)
    return pa.array([text for text, _ in carriers]).take(pa.array(at))


def _slipped(texts: pa.Array, rng: np.random.Generator) -> pa.Array:
    """Return texts with typing slips in 8 % and hearing slips in another 8 % of them."""
    chance = rng.random(len(texts))
    dice = rng.integers(1 << 30, size=(len(texts), 2))
    rows = np.flatnonzero(chance < TYPING_SLIPS + HEARING_SLIPS)
    mended: list[str] = []
    for row, text in zip(rows, texts.take(pa.array(rows)).to_pylist(), strict=True):
        slip = typing_slip if chance[row] < TYPING_SLIPS else hearing_slip
        mended.append(slip(text, int(dice[row, 0]), int(dice[row, 1])))
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(mended, pa.string()))


def typing_slip(text: str, kind: int, place: int) -> str:
    """Drop, double, swap or replace one key, as the two random numbers determine; single letters stay."""
    if len(text) < 2:
        return text
    at = place % (len(text) - 1)
    here, there = text[at], text[at + 1]
    middle = (there, here + here + there, there + here, _BESIDE.get(here, here)[:1] + there)[kind % 4]
    return (text[:at] + middle + text[at + 2 :]).strip() or text


def hearing_slip(text: str, kind: int, place: int) -> str:
    """Replace a word by a similar-sounding one; if there is none, drop a word or insert a hesitation."""
    words: list[Any] = text.split()
    alike = [i for i, word in enumerate(words) if word in _SOUNDS_LIKE]
    at = place % len(words)
    if alike and kind % 8:
        at = alike[place % len(alike)]
        words[at] = _SOUNDS_LIKE[words[at]]
    elif len(words) > 2 and kind % 2:
        del words[at]
    else:
        words.insert(at, "uh")
    return " ".join(words)
