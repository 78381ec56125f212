"""benchmarks/training.py: the loops that it compares agree, what it tells of paces and accuracies, what it refuses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from raysample.core.config import ModelConfig
from tests.helpers.benchmark_scripts import imported, on_path, shared
from tests.helpers.paths import BENCHMARKS
from tests.helpers.training_twins import TrainingWork, train_by_hand, training_work

pytestmark = pytest.mark.slow

__all__ = ["on_path"]  # a fixture that every test here uses, too


@pytest.fixture
def training() -> ModuleType:
    return imported(BENCHMARKS / "training.py")


@pytest.fixture
def work(tmp_path: Path) -> TrainingWork:
    spec = ModelConfig(hidden_size=16, vocabulary_size=300, layers=1, max_length=512, dropout=0.0)
    return training_work(tmp_path, spec, rows=16, steps=8, batch_size=8)


def test_every_loop_in_this_process_has_the_same_losses(
    training: ModuleType, work: TrainingWork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    here = (training.BARE, training.OURS, training.TRAINER)
    ways = training.ways(work, tmp_path)
    paces = training.trained({name: ways[name] for name in here}, 1)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("repetition")] == [
        f"repetition 1 of 1: {name} has trained" for name in here
    ]
    assert all(len(pace.losses) == len(pace.wall) == len(pace.cpu) == 8 for (pace,) in paces.values())
    differences = training.differences(paces)
    assert max(differences.values()) < 1e-4
    assert differences[training.BARE] == 0
    # Another order of the rows, or another learning rate, does not pass for the same training.
    for change in ({"seed": 1}, {"learning_rate": 6e-4}):
        other = replace(work, recipe=work.recipe.model_copy(update=change))
        wrong = training.ways(other, tmp_path)[training.OURS]()
        assert paces[training.BARE][0].difference(wrong) > training.TOLERANCE


def test_wrong_losses_are_told_and_nothing_else(training: ModuleType) -> None:
    pace = shared("baselines.paces").Pace
    right = pace([1.0, 0.8, 0.9, 0.7], [1.0, 2.0, 3.0, 4.0], None, 4.0)
    for losses in ([1.0, 0.8, 0.9, 0.703], [1.0, 0.8, 0.9], [1.0, 0.8, 0.9, float("nan")]):
        wrong = pace(losses, [1.0, 2.0, 3.0, 4.0][: len(losses)], None, 4.0)
        assert training.wrong({training.BARE: [right], training.OURS: [right]}) == ""
        assert "losses disagree" in training.wrong({training.BARE: [right], training.OURS: [right, wrong]})
    flat = pace([0.7, 0.7, 0.7, 0.7], right.wall, None, 4.0)
    assert "hardly change" in training.wrong({training.BARE: [flat], training.OURS: [flat]})


def test_a_pace_separates_steady_state_from_start_up() -> None:
    paces = shared("baselines.paces")
    # Three steps to get going, then 2 seconds each; 20 seconds in all, of which 6 x 2 are steps.
    slow = paces.Pace([0.0] * 6, [4.0, 7.0, 9.0, 11.0, 13.0, 15.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 20.0)
    assert slow.seconds() == 2
    assert slow.seconds("cpu") == 1
    assert slow.start_up == 8
    fast = paces.Pace([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], None, 6.0)
    assert paces.over([slow, fast], [fast, fast], "wall") == [0.5, 1.0]


def test_a_watch_keeps_the_time_stamps_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = shared("baselines.paces")
    # Begun at 10, five steps of 1, 4, 3, 2 and 2 seconds on the wall and half of it in CPU time, over at 24.
    wall, cpu = iter([10.0, 11.0, 15.0, 18.0, 20.0, 22.0, 24.0]), iter([0.5, 2.5, 4.0, 5.0, 6.0])
    clock = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(cpu))
    monkeypatch.setattr(paces, "time", clock)
    watch = paces.Watch(began=clock.perf_counter())
    for loss in (3.0, 2.0, 1.0, 0.5, 0.25):
        watch.step(loss)
    pace = watch.pace()
    assert pace.losses == [3.0, 2.0, 1.0, 0.5, 0.25]
    assert (pace.wall, pace.cpu) == ([11.0, 15.0, 18.0, 20.0, 22.0], [0.5, 2.5, 4.0, 5.0, 6.0])
    assert pace.whole == 14
    # The second half: the last three of five steps, from 15 to 22 and from 2.5 to 6.
    assert pace.seconds() == 7 / 3
    assert pace.seconds("cpu") == 3.5 / 3
    assert pace.start_up == pytest.approx(14 - 5 * 7 / 3)


@pytest.mark.usefixtures("forked")
def test_by_hand_with_two_processes_however_rows_are_dealt(training: ModuleType, work: TrainingWork) -> None:
    bare = shared("baselines.train_ways")
    lengths = work.data.encoded.lengths
    shares = [[bare.by_length(rows, lengths, rank, 2) for rank in range(2)] for rows in work.order]
    assert any(len(one) != len(other) for one, other in shares), "rows of one length show nothing"
    here = bare.in_this_process(work, train_by_hand)
    paces = {training.BARE: [here], training.DDP: [bare.with_ddp(work, 2, bare.by_length)]}
    assert training.wrong(paces) == ""
    assert not bare.ddp_processes()


def test_two_trainings_take_turns(tmp_path: Path) -> None:
    """Two processes write down the time over and over: neither does so while it is the other's turn."""
    turns = shared("baselines.paces")
    pace = turns.Pace
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
    turns = shared("baselines.paces")
    pace = turns.Pace
    one = pace([0.0] * 7, [0.0, 9.0, 10.0, 16.0, 17.0, 18.0, 19.0], None, 19.0)  # stopped once: 9 does not count
    other = pace([0.0] * 7, [0.0, 3.0, 6.0, 8.0, 20.0, 23.0, 25.0], None, 25.0)
    # From the second step on: 1, 6*, 1, 1, 1 and 3, 2, 12*, 3, 2; both went through three of them.
    assert turns.over_in_turns(one, other, first=2, seconds=5.0) == pytest.approx((3 + 3 + 2) / (1 + 1 + 1))
    with pytest.raises(ValueError, match="turns must be longer"):
        turns.over_in_turns(one, other, first=2, seconds=2.5)
    assert training.targets({}, {training.DDP: [0.8, 0.96, 1.2]}) == {
        f"{training.TWO} / {training.DDP}, steps/s": {"value": 0.96, "target": ">= 0.95", "met": True}
    }


def test_what_took_turns_is_told_beside_the_table(training: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    pace = shared("baselines.paces").Pace
    paces = {training.DDP: [pace([0.7, 0.6], [1.0, 2.0], None, 3.0)]}
    training.show(paces, {training.DDP: [0.9, 1.25, 1.1]})
    assert "raysample on Ray, 2 workers / bare DDP, 2 processes: 1.100 (0.900 to 1.250, 3 pairs)" in (
        capsys.readouterr().out
    )


def busiest(dealt: Any, rows: Any, lengths: Any, workers: int) -> int:
    """Return the tokens of the worker with most to do: its rows times the longest of them."""
    shares = [dealt(rows, lengths, rank, workers) for rank in range(workers)]
    assert sorted(np.concatenate(shares)) == sorted(rows)
    return max(len(mine) * int(lengths[mine].max(initial=0)) for mine in shares)


def test_rows_dealt_by_length_leave_the_busiest_worker_less_to_do() -> None:
    ways, trials = shared("baselines.train_ways"), shared("harness.label_errors")
    # 8 + 4 x 2 tokens: the long row alone, the others together.
    lengths = np.array([8, 2, 2, 2, 2])
    assert busiest(ways.by_length, np.arange(5), lengths, 2) == 8
    assert busiest(ways.in_turn, np.arange(5), lengths, 2) == 24
    texts = trials.simulated_trial(600, None).rows["text"]
    words, ratios = np.array([len(text.split()) for text in texts]), []
    for batch, workers in ((32, 2), (32, 4), (64, 8), (256, 8)):
        order = np.random.default_rng(0).permutation(600)[: 600 // batch * batch].reshape(-1, batch)
        sums = [sum(busiest(way, rows, words, workers) for rows in order) for way in (ways.by_length, ways.in_turn)]
        ratios.append(sums[0] / sums[1])
    assert np.median(ratios) <= 0.8
    assert max(ratios) <= 1
