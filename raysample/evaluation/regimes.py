"""What equal steps change: the arms whose verdict is not that at equal epochs.

At equal epochs a sample of a tenth is trained for a tenth of the steps, so an arm may win there because it learns
quickly. At equal steps every training is as long as that on all data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from raysample.core.config.selection import EQUAL_STEPS_BELOW
from raysample.evaluation.arms import RANDOM
from raysample.evaluation.findings import as_good_as_all, better_than_random, list_arms
from raysample.evaluation.verdicts import Verdict

AT_EQUAL_STEPS = f"At equal steps (below {EQUAL_STEPS_BELOW:.0%} kept)".replace("%", " %")
"""Start of the sentence on equal steps."""


def changes_at_equal_steps(epochs: Sequence[Verdict], steps: Sequence[Verdict], objective: str) -> str:
    """Return the sentence on the arms whose verdict at equal steps is another than at equal epochs.

    Args:
        epochs: the verdicts at equal epochs; only arms and fractions that `steps` has are compared.
        steps: the verdicts at equal steps.
        objective: the objective of the sentence.
    """
    judged = {(one.arm, one.fraction) for one in steps if one.objective == objective and one.kind != "none"}
    if not judged:
        return f"{AT_EQUAL_STEPS}: no verdict."
    changes, same = list[str](), list[str]()
    weak = any(one.weak for one in steps)
    for words, pick in _KINDS.items():
        before, after = (
            {(one.arm, one.fraction): one for one in pick(verdicts, objective) if (one.arm, one.fraction) in judged}
            for verdicts in (epochs, steps)
        )
        for where, ours, others in (("at equal steps", after, before), ("at equal epochs", before, after)):
            only = [one for cell, one in ours.items() if cell not in others]
            changes += [f"{words} only {where}: {list_arms(only)}"] if only else []
        same += [words] if before.keys() & after.keys() else []
    start = f"{AT_EQUAL_STEPS}, weak evidence" if weak and (changes or same) else AT_EQUAL_STEPS
    if changes:
        return f"{start}: {'; '.join(changes)}."
    if same:
        return f"{start}: the verdicts are those at equal epochs ({', '.join(same)}: the same arms)."
    return f"{start}: nothing is decided, as at equal epochs."


def _worse_than_random(verdicts: Iterable[Verdict], objective: str) -> list[Verdict]:
    """Return the verdicts against random of the arms that are worse."""
    return [one for one in verdicts if (one.objective, one.baseline, one.kind) == (objective, RANDOM, "worse")]


_KINDS: dict[str, Callable[[Sequence[Verdict], str], list[Verdict]]] = {
    "better than random": better_than_random,
    "worse than random": _worse_than_random,
    "as good as all data": as_good_as_all,
}
