"""The slow twin of class budgets by a power of class size: fractions, one class after the other."""

from __future__ import annotations

import math
from fractions import Fraction

from raysample.core.config import ArmConfig


def power_of(arm: ArmConfig) -> float | None:
    """Return the power of an arm's class budgets; None if its policy has none."""
    quota = {"corpus": None, "proportional": 1.0, "balanced": 0.0}[arm.quota]
    if arm.policy == "explore":
        return arm.options.get("power", quota)
    if arm.policy not in ("class_power", "thinned", "tilted", "hedge") or arm.options.get("within") == "corpus":
        return None
    usual = 0.5 if arm.policy == "class_power" else 1.0
    return arm.options.get("power", usual if quota is None else quota)


def level(sizes: list[int], budget: int, power: float) -> float:
    """Return λ with Σ min(n, λ n^p) = budget, by bisection."""
    low, high = 0.0, float(max([1, *sizes]))
    for _ in range(200):
        middle = (low + high) / 2
        few = sum(min(n, middle * n**power) for n in sizes) < budget
        low, high = (middle, high) if few else (low, middle)
    return high


def power_quotas(sizes: list[int], budget: int, power: float, floor: int = 0) -> list[int]:
    """Share a budget by n^p: full classes first, then by largest remainder; `floor` rows of every class at least."""
    open_classes = [c for c, n in enumerate(sizes) if n]
    quotas, left = [0] * len(sizes), budget
    weights = {c: Fraction(float(sizes[c]) ** power) for c in open_classes}
    while True:
        total = sum(weights[c] for c in open_classes)
        full = [c for c in open_classes if left * weights[c] >= sizes[c] * total]
        if not full:
            break
        for c in full:
            quotas[c], left = sizes[c], left - sizes[c]
        open_classes = [c for c in open_classes if c not in full]
    shares = {c: left * weights[c] / total for c in open_classes}
    for c in open_classes:
        quotas[c] = math.floor(shares[c])
    by_fraction = sorted(open_classes, key=lambda c: (-round(shares[c] - math.floor(shares[c]), 9), -sizes[c], c))
    for c in by_fraction[: left - sum(quotas[c] for c in open_classes)]:
        quotas[c] += 1
    poor = [c for c, n in enumerate(sizes) if quotas[c] < min(n, floor)]
    if not poor:
        return quotas
    rest = [c for c in range(len(sizes)) if c not in poor]
    others = power_quotas([sizes[c] for c in rest], budget - floor * len(poor), power, floor)
    return [floor if c in poor else others[rest.index(c)] for c in range(len(sizes))]


def first_rows(sizes: list[int], quotas: list[int], share: float, leave: bool) -> list[int]:
    """Return how many rows of each class's quota go by score: round(share * Σ) in all; `leave` one to the lot."""
    most = [q - (leave and q < n) if q else 0 for q, n in zip(quotas, sizes, strict=True)]
    total = min(round(share * sum(quotas)), sum(most))
    fixed: dict[int, int] = {}
    while True:
        free = [c for c in range(len(quotas)) if c not in fixed]
        left, whole = total - sum(fixed.values()), sum(quotas[c] for c in free)
        exact = {c: Fraction(left * quotas[c], max(1, whole)) for c in free}
        found = {c: math.floor(exact[c]) for c in free}
        for c in sorted(free, key=lambda c: (found[c] - exact[c], -quotas[c], c))[: left - sum(found.values())]:
            found[c] += 1
        over = [c for c in free if found[c] > most[c]]
        if not over:
            return [{**found, **fixed}[c] for c in range(len(quotas))]
        fixed |= {c: most[c] for c in over}
