"""The slow twin of the selection: Python integers, fractions, one sort per stratum. Shares only the hash of row ids."""

import math
from fractions import Fraction

import numpy as np

from raysample.core.config import ArmConfig

MASK = 2**64 - 1


def mix(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def z_scores(values: list[float], labels: list[int]) -> list[float]:
    result = [np.float32(0)] * len(values)
    for label in set(labels):
        mine = [i for i, other in enumerate(labels) if other == label]
        exact = [Fraction(values[i]) for i in mine]
        mean = sum(exact) / len(exact)
        std = math.sqrt(float(sum(v * v for v in exact) / len(exact) - mean * mean))
        for i in mine:
            result[i] = np.float32((values[i] - float(mean)) / std) if std else np.float32(0)
    return [float(z) for z in result]


def shares(quota: str, counts: list[int], budget: int) -> list[int]:
    """Largest remainder, or handing rows out one at a time to the group that has got least."""
    if quota != "balanced":
        total = sum(counts)
        exact = [Fraction(budget * n, total) for n in counts]
        got = [math.floor(share) for share in exact]
        order = sorted(range(len(counts)), key=lambda g: (got[g] - exact[g], -counts[g], g))
        for g in order[: budget - sum(got)]:
            got[g] += 1
        return got
    got = [0] * len(counts)
    for _ in range(budget):
        open_groups = [g for g in range(len(counts)) if got[g] < counts[g]]
        got[min(open_groups, key=lambda g: (got[g], -counts[g], g))] += 1
    return got


def kept_ids(
    arm: ArmConfig,
    harder: bool,
    ids: list[str],
    identities: list[int],
    labels: list[int],
    values: list[float] | None,
    budget: int,
    seed: int,
) -> set[str]:
    """Return the set of ids that `arm` keeps of rows given as lists; `harder`: a high value is harder."""
    salt = mix(seed & MASK)
    ties = [mix(x ^ salt) for x in identities]
    quota = arm.quota if arm.policy != "stratified_random" or arm.quota != "corpus" else "proportional"
    if arm.score is None:
        keys = [0.0] * len(ids)  # the lot alone decides
    else:
        keys = z_scores(values, labels) if arm.normalise == "class" and quota == "corpus" else list(values)
        sign = 1 if (arm.policy == "hard") == harder else -1
        keys = [sign * key for key in keys]
    strata = [0] * len(ids) if quota == "corpus" else labels
    groups = sorted(set(strata))
    quotas = shares(quota, [strata.count(g) for g in groups], budget)
    kept = set()
    for group, n in zip(groups, quotas, strict=True):
        mine = sorted((i for i in range(len(ids)) if strata[i] == group), key=lambda i: (keys[i], ties[i]))
        kept |= {ids[i] for i in mine[len(mine) - n :]}
    return kept
