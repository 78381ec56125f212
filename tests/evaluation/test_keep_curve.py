"""The keep curve: known curves are found again, and recommendations lie where they must."""

import math
from dataclasses import replace

import numpy as np
import pytest

from raysample.core.errors import SelectionError
from raysample.evaluation import FULL
from raysample.evaluation.arm_summary import RunResult
from raysample.evaluation.keep_curve import GRID, KeepCurve, fit_keep_curve, recommend

pytestmark = pytest.mark.slow

TRUE = KeepCurve(0.9, 0.5, 5.0)


def run(arm: str, fraction: float, seed: int, accuracy: float) -> RunResult:
    return RunResult(arm, fraction, seed, 100, 10, {"accuracy": 0.5}, (), {"accuracy": accuracy})


def runs(noise: float = 0.0, seeds: int = 3, fractions: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)) -> list[RunResult]:
    rng, found = np.random.default_rng(0), []
    for seed in range(seeds):
        for arm, fraction in [(FULL, 1.0), *(("hard(vog)", fraction) for fraction in fractions)]:
            value = float(TRUE(np.array([fraction]))[0] + noise * rng.normal())
            found.append(run(arm, fraction, seed, value))
    return found


def test_a_curve_is_found_again() -> None:
    f = np.array([0.1, 0.2, 0.4, 0.6, 1.0])
    found = fit_keep_curve(f, TRUE(f))
    np.testing.assert_allclose(found(GRID[50:]), TRUE(GRID[50:]), atol=2e-3)


def test_the_fit_is_the_least_of_a_slow_search() -> None:
    rng = np.random.default_rng(1)
    f = np.repeat([0.1, 0.3, 0.6, 1.0], 3)
    y = TRUE(f) + 0.02 * rng.normal(size=12)
    own = fit_keep_curve(f, y)
    least = ((own(f) - y) ** 2).sum()
    for _ in range(3000):
        other = KeepCurve(*(np.array([own.plateau, own.drop, own.rate]) * np.exp(0.1 * rng.normal(size=3))))
        assert ((other(f) - y) ** 2).sum() > least * (1 - 1e-3)


def test_a_rising_tolerance_allows_less_and_the_loss_is_within_it() -> None:
    shares = []
    for tolerance in (0.005, 0.02, 0.05):
        (found,) = recommend(runs(), tolerance)
        assert found.loss <= tolerance + 1e-9
        exact = GRID[np.argmax(TRUE(np.ones(1)) - TRUE(GRID) <= tolerance)]
        assert found.fraction == pytest.approx(exact, abs=0.01)
        shares.append(found.fraction)
    assert shares == sorted(shares, reverse=True)


def test_seeds_tell_how_sure_it_is() -> None:
    (calm,), (rough,) = recommend(runs(noise=0.001), 0.02), recommend(runs(noise=0.02), 0.02)
    assert calm.low <= calm.fraction <= calm.high
    assert rough.high - rough.low > calm.high - calm.low
    (single,) = recommend(runs(seeds=1), 0.02)
    assert math.isnan(single.low)
    assert recommend(runs(noise=0.02), 0.02) == recommend(runs(noise=0.02), 0.02)


def test_nothing_is_recommended_below_what_was_measured() -> None:
    (found,) = recommend(runs(fractions=(0.5, 0.6, 0.7)), 0.4)
    assert found.fraction == 0.5


def test_an_arm_that_does_not_fall_needs_no_more_than_the_least() -> None:
    flat = [
        run(arm, f, s, 0.8) for s in (0, 1) for arm, f in ((FULL, 1.0), ("easy", 0.2), ("easy", 0.5), ("easy", 0.8))
    ]
    (found,) = recommend(flat, 0.01)
    assert (found.fraction, found.loss) == (0.2, 0.0)


def test_too_few_shares_is_an_error() -> None:
    with pytest.raises(SelectionError, match=r"there are 2\n.*compare\.fractions"):
        recommend(runs(fractions=(0.3, 0.5)), 0.01)
    with pytest.raises(SelectionError, match="loss of accuracy in"):
        recommend(runs(), 1.5)


def test_the_test_has_no_say() -> None:
    known, rng = runs(noise=0.01), np.random.default_rng(3)
    shuffled = [replace(one, metrics={"accuracy": float(rng.random())}) for one in known]
    assert recommend(shuffled, 0.02) == recommend(known, 0.02)


def test_without_validation_nothing_is_recommended() -> None:
    one, *rest = runs()
    with pytest.raises(SelectionError, match=r"no results on validation rows.*\n.*set corpus\.validation"):
        recommend([replace(one, metrics={"accuracy": 0.9}, validation={}), *rest], 0.02)
