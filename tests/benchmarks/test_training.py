"""benchmarks/training.py: the loops that it compares agree, what it tells of paces and accuracies, what it refuses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from raysample.core.config import ModelConfig
from tests.helpers.benchmark_scripts import imported, on_path, shared
from tests.helpers.paths import BENCHMARKS

pytestmark = pytest.mark.slow

__all__ = ["on_path"]  # a fixture that every test here uses, too


@pytest.fixture
def training() -> ModuleType:
    return imported(BENCHMARKS / "training.py")


@pytest.fixture
def work(tmp_path: Path) -> Any:
    spec = ModelConfig(hidden_size=16, vocabulary_size=300, layers=1, max_length=512, dropout=0.0)
    return shared("baselines.train_material").made_up(tmp_path, spec, batch_size=8, steps=8, epochs=4)


def test_every_loop_in_this_process_has_the_same_losses(
    training: ModuleType, work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    here = (training.BARE, training.OURS, training.TRAINER)
    paces = training.take_turns({name: training.ways(work, tmp_path)[name] for name in here}, 1)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("repetition")] == [
        f"repetition 1 of 1: {name} has trained" for name in here
    ]
    assert all(len(pace.losses) == 8 for (pace,) in paces.values())
    assert all(pace.whole > 0 and pace.seconds() > 0 for (pace,) in paces.values())
    apart = training.disagreements(paces)
    assert max(apart.values()) < 1e-4
    assert apart[training.BARE] == 0
    # Another order of the rows, or another learning rate, does not pass for the same training.
    for change in ({"seed": 1}, {"learning_rate": 6e-4}):
        other = replace(work, recipe=work.recipe.model_copy(update=change))
        wrong = training.take_turns({training.OURS: training.ways(other, tmp_path)[training.OURS]}, 1)
        assert paces[training.BARE][0].apart(wrong[training.OURS][0]) > training.TOLERANCE


def test_wrong_losses_are_told_and_nothing_else(training: ModuleType) -> None:
    pace = shared("baselines.pace").Pace
    right = pace([1.0, 0.8, 0.9, 0.7], [1.0, 2.0, 3.0, 4.0], None, 4.0)
    for losses in ([1.0, 0.8, 0.9, 0.703], [1.0, 0.8, 0.9], [1.0, 0.8, 0.9, float("nan")]):
        wrong = pace(losses, [1.0, 2.0, 3.0, 4.0][: len(losses)], None, 4.0)
        assert training.wrong({training.BARE: [right], training.OURS: [right]}) == ""
        assert "losses disagree" in training.wrong({training.BARE: [right], training.OURS: [right, wrong]})
    flat = pace([0.7, 0.7, 0.7, 0.7], right.wall, None, 4.0)
    assert "hardly change" in training.wrong({training.BARE: [flat], training.OURS: [flat]})


def test_a_pace_tells_steady_state_from_start_up() -> None:
    paces = shared("baselines.pace")
    # Three steps to get going, then 2 seconds each; 20 seconds in all, of which 6 x 2 are steps.
    slow = paces.Pace([0.0] * 6, [4.0, 7.0, 9.0, 11.0, 13.0, 15.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 20.0)
    assert slow.seconds() == 2
    assert slow.seconds("cpu") == 1
    assert slow.start_up == 8
    fast = paces.Pace([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], None, 6.0)
    assert paces.over([slow, fast], [fast, fast], "wall") == [0.5, 1.0]
    watch = paces.Watch()
    for loss in (3.0, 2.0, 1.0, 0.5):
        watch.step(loss)
    assert watch.pace().losses == [3.0, 2.0, 1.0, 0.5]
    assert watch.pace().whole >= watch.wall[-1] - watch.began


def test_by_hand_with_two_processes_however_rows_are_dealt(training: ModuleType, work: Any) -> None:
    bare = shared("baselines.train_loop")
    lengths = work.data.encoded.lengths
    shares = [[bare.by_length(rows, lengths, rank, 2) for rank in range(2)] for rows in work.order]
    assert any(len(one) != len(other) for one, other in shares), "rows of one length show nothing"
    paces = {training.BARE: [bare.alone(work)], training.DDP: [bare.together(work, 2, bare.by_length)]}
    assert training.wrong(paces) == ""
    assert not bare.processes()


def test_two_trainings_take_turns(tmp_path: Path) -> None:
    """Two processes write down the time over and over: neither does so while it is the other's turn."""
    turns, pace = shared("baselines.turns"), shared("baselines.pace").Pace
    script = (
        "import sys, time\nfor _ in range(int(sys.argv[2])):\n    time.sleep(0.01)\n"
        "    with open(sys.argv[1], 'a') as file: print(time.perf_counter(), file=file)\n"
    )

    def side(name: str, steps: int) -> Any:
        started: list[psutil.Popen] = []

        def run(under_way: Event) -> Any:
            started.append(psutil.Popen([sys.executable, "-c", script, str(tmp_path / name), str(steps)]))
            while not (tmp_path / name).exists():
                assert started[0].poll() is None
            under_way.set()
            assert started[0].wait() == 0
            wall = [float(line) for line in (tmp_path / name).read_text().split()]
            return pace([0.0] * len(wall), wall, None, wall[-1] - wall[0])

        return turns.Side(run, lambda: started)

    one, other = turns.alternate(side("one", 200), side("other", 100), seconds=0.4)
    assert (len(one.losses), len(other.losses)) == (200, 100)
    spans = {
        name: list(zip(found.wall, found.wall[1:], strict=False)) for name, found in (("one", one), ("other", other))
    }
    # `one` rests first, until `other` is under way, and at least once more; where a process is stopped there is a gap.
    for name, rests in (("one", 2), ("other", 1)):
        gaps = [(a, b) for a, b in spans[name] if b - a > 0.35]
        assert len(gaps) >= rests
        others = other.wall if name == "one" else one.wall
        for a, b in gaps:
            assert sum(a < at < b for at in others) > 1
    both = [at for at in one.wall if any(a + 0.05 < at < b - 0.05 for a, b in spans["other"] if b - a > 0.35)]
    assert len(both) > 5
    for a, b in (gap for gap in spans["one"] if gap[1] - gap[0] > 0.35):
        assert not any(a + 0.05 < at < b - 0.05 for at in one.wall)


def test_only_steps_without_a_stop_count(training: ModuleType) -> None:
    turns, pace = shared("baselines.turns"), shared("baselines.pace").Pace
    one = pace([0.0] * 7, [0.0, 9.0, 10.0, 16.0, 17.0, 18.0, 19.0], None, 19.0)  # stopped once: 9 does not count
    other = pace([0.0] * 7, [0.0, 3.0, 6.0, 8.0, 20.0, 23.0, 25.0], None, 25.0)
    # From the second step on: 1, 6*, 1, 1, 1 and 3, 2, 12*, 3, 2; both went through three of them.
    assert turns.over(one, other, first=2, seconds=5.0) == pytest.approx((3 + 3 + 2) / (1 + 1 + 1))
    with pytest.raises(ValueError, match="turns must be longer"):
        turns.over(one, other, first=2, seconds=2.5)
    assert training.targets({}, {training.DDP: [0.8, 0.96, 1.2]}) == {
        f"{training.TWO} / {training.DDP}, steps/s": {"value": 0.96, "target": ">= 0.95", "met": True}
    }


def test_what_took_turns_is_told_beside_the_table(training: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    speeds, pace = shared("baselines.speeds"), shared("baselines.pace").Pace
    paces = {training.DDP: [pace([0.7, 0.6], [1.0, 2.0], None, 3.0)]}
    speeds.show(paces, {training.DDP: [0.9, 1.25, 1.1]})
    assert "raysample on Ray, 2 workers / bare DDP, 2 processes: 1.100 (0.900 to 1.250, 3 pairs)" in (
        capsys.readouterr().out
    )
    (told,) = speeds.turned({training.DEALT: [0.9, 1.25, 1.1]}).values()
    assert told == {"median": 1.1, "lowest": 0.9, "highest": 1.25, "each": [0.9, 1.25, 1.1]}


def busiest(dealt: Any, rows: Any, lengths: Any, workers: int) -> int:
    """Return the tokens of the worker with most to do: its rows times the longest of them."""
    shares = [dealt(rows, lengths, rank, workers) for rank in range(workers)]
    assert sorted(np.concatenate(shares)) == sorted(rows)
    return max(len(mine) * int(lengths[mine].max(initial=0)) for mine in shares)


def test_rows_dealt_by_length_leave_the_busiest_worker_less_to_do(tmp_path: Path) -> None:
    loop, trials = shared("baselines.train_loop"), shared("label_noise.trials")
    # 8 + 4 x 2 tokens: the long row alone, the others together.
    lengths = np.array([8, 2, 2, 2, 2])
    assert busiest(loop.by_length, np.arange(5), lengths, 2) == 8
    assert busiest(loop.in_turn, np.arange(5), lengths, 2) == 24
    texts = trials.simulated(tmp_path / "traffic", 600, 0.0)[0].rows["text"]
    words, ratios = np.array([len(text.split()) for text in texts]), []
    for batch, workers in ((32, 2), (32, 4), (64, 8), (256, 8)):
        order = np.random.default_rng(0).permutation(600)[: 600 // batch * batch].reshape(-1, batch)
        sums = [sum(busiest(way, rows, words, workers) for rows in order) for way in (loop.by_length, loop.in_turn)]
        ratios.append(sums[0] / sums[1])
    assert np.median(ratios) <= 0.8
    assert max(ratios) <= 1
