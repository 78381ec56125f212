"""The slow twin of every policy: whole arrays, one sort, formulas written again. Shares only the seeded words."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta as beta_law
from scipy.stats import norm, rankdata

from raysample.core.config import ArmConfig
from raysample.selection.policies import GlobalStatistics, row_hash
from raysample.selection.policies.base import uniform
from tests.helpers.class_budget_twin import first_rows, power_of, power_quotas
from tests.helpers.every_policy import HIGHER_IS, TableColumns
from tests.helpers.every_policy import rows as rows_of
from tests.helpers.selection_oracle import z_scores

Array = npt.NDArray[Any]


class Twin:
    """One data set, one seed; `kept` is what an arm keeps of it, [n].

    It knows the formulas of `POLICIES`; another policy is held against the sort of `raysample.testing.check_policy`.
    """

    POLICIES = frozenset(
        {
            *("random", "stratified_random", "hard", "easy", "window", "middle", "linear", "softmax", "coverage"),
            *("tilted", "explore", "hedge", "class_power", "thinned", "beta", "mix", "consensus"),
        }
    )

    def __init__(self, columns: TableColumns, seed: int) -> None:
        whole, facts = rows_of(columns), GlobalStatistics(seed)
        self.columns, self.label, self.n = columns, columns["label"], len(whole)
        self.tie, self.gumbel = row_hash(whole, facts), -np.log(-np.log(uniform(whole, facts)))

    def hard(self, score: str, normalise: str = "none", rest: Array | None = None) -> Array:
        """Return a score with its hard end high, perhaps as z-scores over the rows of `rest`."""
        values = self.columns[score].astype(np.float64)
        rest = np.ones(self.n, bool) if rest is None else rest
        groups = {"class": self.label, "corpus": np.zeros(self.n, int), "none": None}[normalise]
        if groups is not None:
            z = np.zeros(self.n)
            z[rest] = z_scores(values[rest].tolist(), groups[rest].tolist())
            values = z
        return (values if HIGHER_IS[score] == "harder" else -values).astype(np.float32)

    def top(self, key: Array, count: int, among: Array) -> Array:
        """Return the `count` rows of the highest keys; ties fall to the seeded word."""
        order = np.lexsort((self.tie, key.astype(np.float32)))
        order = order[among[order]]
        taken = np.zeros(self.n, bool)
        taken[order[len(order) - count :]] = True
        return taken

    def shared(self, key: Array, count: int, among: Array, arm: ArmConfig) -> Array:
        """Return the rows of the highest keys, in all or in each class."""
        if arm.quota == "corpus":
            return self.top(key, count, among)
        classes = np.unique(self.label[among])
        sizes = [int((among & (self.label == c)).sum()) for c in classes]
        got = _handed_out(arm, sizes, count)
        return np.any([self.top(key, k, among & (self.label == c)) for c, k in zip(classes, got, strict=True)], 0)

    def kept(self, arm: ArmConfig, budget: int) -> Array:
        """Return what an arm keeps."""
        if arm.policy == "stratified_random" and arm.quota == "corpus":
            arm = arm.model_copy(update={"quota": "proportional"})
        open_rows = self._without_suspects(arm)
        open_rows = self._without_hardest(arm, budget, open_rows)
        if arm.cap_per_group:
            open_rows = self._capped(self._key(arm, open_rows, first=True), arm.cap_per_group, open_rows)
        kept = np.zeros(self.n, bool)
        if power_of(arm) is not None:
            return self._by_class(arm, budget, open_rows)
        if arm.quota == "corpus":
            first = self._key(arm, open_rows, first=True)
            if arm.max_per_class:
                open_rows = np.any(
                    [
                        self.top(first, arm.max_per_class, open_rows & (self.label == c))
                        if (open_rows & (self.label == c)).sum() > arm.max_per_class
                        else open_rows & (self.label == c)
                        for c in np.unique(self.label)
                    ],
                    0,
                )
            for c in np.unique(self.label) if arm.min_per_class else ():
                mine = open_rows & (self.label == c)
                kept |= self.top(
                    self._key(arm, open_rows, first=True), min(int(mine.sum()), arm.min_per_class or 0), mine
                )
        for name in {g for g in self.columns["group"] if g is not None} if arm.min_share_per_group else ():
            mine = open_rows & (self.columns["group"] == name)
            least = -(-round(arm.min_share_per_group * 100) * int(mine.sum()) // 100) - int((kept & mine).sum())
            kept |= self.top(self._key(arm, open_rows, first=True), max(0, least), mine & ~kept)
        if arm.policy == "explore":
            kept |= self.top(
                self._key(arm, open_rows, first=True), round(arm.options.get("share", 0.5) * budget), open_rows & ~kept
            )
        left = budget - int(kept.sum())
        if arm.policy == "coverage":
            return kept | self._bins(arm, left, open_rows & ~kept, open_rows)
        return kept | self.shared(self._key(arm, open_rows), left, open_rows & ~kept, arm)

    def _without_suspects(self, arm: ArmConfig) -> Array:
        whole = np.ones(self.n, bool)
        if arm.drop_suspects is None:
            return whole
        left = self.n - round(arm.drop_suspects.share * self.n)
        within = ArmConfig(quota="proportional" if arm.drop_suspects.within == "class" else "corpus")
        return self.shared(-self.hard(arm.drop_suspects.score), left, whole, within)

    def _by_class(self, arm: ArmConfig, budget: int, among: Array) -> Array:
        """Return what a policy with class budgets by a power of class size keeps."""
        classes = np.unique(self.label[among])
        own = [among & (self.label == c) for c in classes]
        near = self.columns[str(arm.score)] > arm.options.get("threshold", 0.95) if arm.policy == "thinned" else ~among
        fresh = [int((mine & ~near).sum()) for mine in own]
        power, left = float(power_of(arm) or 0), max(0, budget - sum(fresh))
        weighted = arm.weights == "unbiased" or (arm.policy == "explore" and arm.weights is None)
        got = power_quotas(fresh, budget - left, power, floor=int(weighted))
        spare = power_quotas([int((mine & near).sum()) for mine in own], left, power)
        chosen = [0] * len(own)
        if arm.policy in ("hedge", "explore"):
            chosen = first_rows(fresh, got, arm.options.get("share", 0.3 if arm.policy == "hedge" else 0.5), weighted)
        first, kept = self._key(arm, among, first=True), np.zeros(self.n, bool)
        later = first if arm.policy == "tilted" else np.zeros(self.n)
        for mine, q, more, k in zip(own, got, spare, chosen, strict=True):
            head = self.top(first, k, mine)
            kept |= head | self.top(later, q - k, mine & ~near & ~head) | self.top(later, more, mine & near)
        return kept

    def _capped(self, key: Array, most: int, among: Array) -> Array:
        order, seen, left = np.lexsort((self.tie, key.astype(np.float32)))[::-1], dict[str, int](), among.copy()
        for row in order[among[order]]:
            name = self.columns["group"][row]
            if name is not None:
                seen[name] = seen.get(name, 0) + 1
                left[row] = seen[name] <= most
        return left

    def _without_hardest(self, arm: ArmConfig, budget: int, among: Array) -> Array:
        if arm.policy == "window":
            gone = round(arm.options.get("start", 0.1) * self.n)
        elif arm.policy == "coverage":
            gone = round(arm.options.get("drop", 0.1) * self.n)
        elif arm.policy == "middle":
            gone = round(0.5 * (self.n - budget))
        else:
            return among
        normalise = arm.normalise if arm.quota == "corpus" else "none"
        return self.shared(-self.hard(str(arm.score), normalise, among), int(among.sum()) - gone, among, arm)

    def _key(self, arm: ArmConfig, rest: Array, first: bool = False) -> Array:
        """Return the key of the last step, or of the first that is not dropping, with facts over `rest`."""
        if arm.policy == "thinned":
            return -(self.columns[str(arm.score)] > arm.options.get("threshold", 0.95)).astype(float)
        if arm.policy in ("random", "stratified_random", "class_power", "coverage") or (
            arm.policy in ("explore", "hedge") and not (first and arm.options.get("share", 1))
        ):
            return np.zeros(self.n)
        if arm.policy == "tilted":
            return self._tilted(arm, rest)
        if arm.policy in ("mix", "consensus"):
            return self._blend(arm, rest)
        if arm.policy == "beta":
            return self._beta(rest) + self.gumbel
        normalise = arm.normalise if arm.quota == "corpus" or arm.policy in ("linear", "softmax") else "none"
        key = self.hard(str(arm.score), normalise, rest).astype(np.float64)
        key = -key if arm.options.get("keeps") == "easier" or arm.policy == "easy" else key
        if arm.policy == "softmax":
            return key / arm.options.get("temperature", 1.0) + self.gumbel
        if arm.policy == "linear":
            epsilon = arm.options.get("epsilon", 0.01)
            low, high = key[rest].min(), key[rest].max()
            share = np.clip((key - low) / (high - low), 0, 1) if high > low else np.ones(self.n)
            return np.log(epsilon + (1 - epsilon) * share) + self.gumbel
        return key

    def _tilted(self, arm: ArmConfig, rest: Array) -> Array:
        """Return strength times the normal quantile of the rank, or the z-score, plus noise rising with the word."""
        within = arm.options.get("within", "class")
        if not arm.options.get("strength", 1):
            return np.zeros(self.n)
        u = self.hard(str(arm.score), within, rest).astype(np.float64)
        if arm.options.get("by") != "score":
            u = self.hard(str(arm.score)).astype(np.float64)
            for c in np.unique(self.label) if within == "class" else (None,):
                mine = rest if c is None else rest & (self.label == c)
                u[mine] = norm.ppf((rankdata(u[mine]) - 0.5) / max(1, mine.sum()))
        u = -u if arm.options.get("keeps") == "easier" else u
        noise = -np.log(-np.log([(int(word) >> 11) / 2**53 + 2**-54 for word in self.tie]))
        return arm.options.get("strength", 1) * u + noise

    def _blend(self, arm: ArmConfig, rest: Array) -> Array:
        given = arm.options["scores"]
        weights = given if isinstance(given, dict) else dict.fromkeys(given, 1)
        total, votes = np.zeros(self.n), np.zeros(self.n)
        for name, weight in weights.items():
            rank = (rankdata(self.columns[name][rest]) - 0.5) / rest.sum()
            rank = rank if HIGHER_IS[name] == arm.options.get("keeps", "harder") else 1 - rank
            total[rest] += rank * (weight / sum(weights.values()))
            votes[rest] += weight * (rank > 1 - arm.options.get("top", 0.2))
        entropy = arm.options.get("group_entropy", 0)
        if entropy:
            rank = (rankdata(self._entropy(rest)[rest]) - 0.5) / rest.sum()
            rank = rank if arm.options.get("keeps", "harder") == "harder" else 1 - rank
            own = sum(weights.values())
            total[rest] = (own * total[rest] + entropy * rank) / (own + entropy)
        return votes + total if arm.policy == "consensus" else total

    def _entropy(self, rest: Array) -> Array:
        """Return for each row the entropy, in bits, of the groups of its class."""
        found = np.zeros(self.n)
        for c in np.unique(self.label[rest]):
            names = self.columns["group"][rest & (self.label == c)].astype(str)
            p = np.unique(names, return_counts=True)[1] / len(names)
            found[self.label == c] = round(float(-(p * np.log2(p)).sum()), 9)
        return found

    def _beta(self, rest: Array) -> Array:
        """Return ln of the weight up to a constant: scipy's density times the score."""
        dual, p = (self.columns[name].astype(np.float64) for name in ("dual", "confidence"))
        hardest = np.argsort(-dual[rest], kind="stable")[:10]
        self.anchor = p[rest][hardest].mean()
        pruned = 1 - self.budget / self.n
        b = 15 * (1 - self.anchor) * (1 - pruned**4)
        return np.log(dual) + beta_law.logpdf(p, 16 - b, b)

    def _bins(self, arm: ArmConfig, count: int, among: Array, rest: Array) -> Array:
        values = self.columns[str(arm.score)].astype(np.float64)
        low, high = values[rest].min(), values[rest].max()
        number = arm.options.get("bins", 50)
        width = high - low if high > low else 1.0
        bins = np.clip((values - low) / width * number, 0, number - 1).astype(int)
        groups = np.unique(bins[among])
        sizes = [int((among & (bins == g)).sum()) for g in groups]
        got = _handed_out(ArmConfig(policy="hard", quota="balanced"), sizes, count)
        return np.any([self.top(np.zeros(self.n), k, among & (bins == g)) for g, k in zip(groups, got, strict=True)], 0)

    budget = 0


def _handed_out(arm: ArmConfig, sizes: list[int], count: int) -> list[int]:
    """Hand rows out one at a time: to the group that has got least, or that lacks most of its exact share."""
    least = [min(n, arm.min_per_class or 0) for n in sizes]
    most = [min(n, arm.max_per_class or n) for n in sizes]
    if arm.quota == "balanced" or arm.min_per_class or arm.max_per_class:
        got = list(least)
        weight = [1.0] * len(sizes) if arm.quota == "balanced" else [float(n) for n in sizes]
        for _ in range(count - sum(got)):
            free = [g for g in range(len(sizes)) if got[g] < most[g]]
            got[min(free, key=lambda g: ((got[g] + (arm.quota != "balanced") * 0.5) / weight[g], -sizes[g], g))] += 1
        return got
    whole = [count * n // sum(sizes) for n in sizes]
    order = sorted(range(len(sizes)), key=lambda g: (-(count * sizes[g] % sum(sizes)), -sizes[g], g))
    return [n + (g in order[: count - sum(whole)]) for g, n in enumerate(whole)]
