"""The contract of the scripts in benchmarks/: `main(argv)`, `--quick`, a table, JSON as the last line, an exit code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import torch

import raysample
from raysample.core.config import ModelConfig
from raysample.influence.scores import SCORES
from tests.helpers.benchmark_scripts import assert_targets, imported, on_path, shared
from tests.helpers.corpora import varied_corpus
from tests.helpers.families import making, truth
from tests.helpers.noisy_checkpoints import write_noisy_checkpoints
from tests.helpers.paths import BENCHMARKS

pytestmark = pytest.mark.slow

__all__ = ["on_path"]  # a fixture that every test here uses, too

SCRIPTS = sorted(BENCHMARKS.glob("*.py"))
SMALL = ["--quick", "--shapes=1x16x200", "--rows=5", "--repetitions=2", "--layouts=padded"]


@pytest.fixture
def scores() -> ModuleType:
    return imported(BENCHMARKS / "scores.py")


RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_kept_result_has_a_date_and_true_targets(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["benchmark"] == path.stem
    assert re.match(r"\d{4}-\d{2}-\d{2}", result["date"])
    assert result["cpu"]
    # The last line of a run, or figures of a page with the command that gave them.
    if "transcribed" in result:
        assert result["transcribed"].removeprefix("from docs/") in ("benchmarks.md", "economy.md")
        assert result["command"]
    else:
        assert {"versions", "load"} <= set(result)
    if path.stem != "economy":  # its claims are about rows and encoders of one's own
        assert_targets(result["targets"])


def test_every_script_has_its_newest_results() -> None:
    assert {path.stem for path in SCRIPTS} - {path.stem for path in RESULTS} == set()


def test_the_page_names_every_script() -> None:
    page = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [path.name for path in SCRIPTS if f"`{path.name}`" not in page] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_of_every_script_offers_quick_and_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        imported(path).main(["--help"])
    assert stop.value.code == 0
    assert {"--quick", "--json"} <= set(re.findall(r"--\w+", capsys.readouterr().out))


@pytest.mark.slow
def test_scores_prints_tables_and_json(scores: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "result.json"
    assert scores.main([*SMALL, f"--json={written}"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert json.loads(written.read_text()) == result
    assert {"date", "cpu", "threads", "versions", "peak_rss_mib", "options", "bf16"} <= set(result)
    assert_targets(result["targets"])
    found = result["found"]["1x16 padded"]
    assert {*SCORES, "plain forward", "plain forward and backward", "everything"} <= set(found["methods"])
    for name, method in found["methods"].items():
        assert any(name in line for line in shown)
        assert method["cpu_seconds"]["lowest"] <= method["cpu_seconds"]["median"] <= method["cpu_seconds"]["highest"]
    assert found["methods"]["plain forward"]["over_forward"]["median"] == 1
    assert max(found["errors"].values()) <= result["tolerance"]
    states = {peer["name"]: peer["state"] for peer in found["peers"]}
    assert states["loop of autograd.grad"] == states["torch.func vmap(grad)"] == "same quantity"
    assert "1x16 padded: loop of autograd.grad / grand" in result["targets"]


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_scores_times_nothing_where_numbers_are_wrong(
    scores: ModuleType, factor: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visits = shared("tests.helpers.peers.visits")
    fast = visits.grad_norms
    monkeypatch.setattr(visits, "grad_norms", lambda *args: fast(*args) * factor)
    monkeypatch.setattr(scores, "measure", lambda *_: pytest.fail("timed"))
    assert scores.main(SMALL) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "gradient norms against the loop" in err


def test_a_peer_with_wrong_numbers_is_reported_and_not_timed() -> None:
    base, workload = shared("tests.helpers.peers.base"), shared("tests.helpers.peers.workload")
    work = workload.made_up(workload.Shape(1, 16, 50), "full", 3, 300)
    found = base.squares(work.model, work.singles)
    right = torch.tensor(base.truth(found, work.model, "all"))
    for name, build, state in (
        ("off", lambda _: lambda: right * 1.01, "wrong numbers, not timed"),
        ("broken", lambda _: 1 / 0, "failed: ZeroDivisionError: division by zero"),
    ):
        about, run = base.try_peer(base.Peer(name, (), "torch", "all", build), work, found)
        assert about["state"] == state
        assert run is None
    missing = base.Peer("absent", ("no_such_module",), "no-such", "all", lambda _: pytest.fail("built"))
    assert base.try_peer(missing, work, found)[0]["state"] == "not installed"


def test_costs_are_compared_per_row_within_each_repetition() -> None:
    timing, outcome = shared("harness.timing"), shared("harness.outcome")
    torch.set_num_threads(1)
    one, other = timing.Cost(10, [4.0, 1.0, 9.0], []), timing.Cost(5, [1.0, 1.0, 1.0], [])
    assert one.over(other) == {"median": 2.0, "lowest": 0.5, "highest": 4.5}
    once = timing.Cost(10, [8.0], [])
    assert once.over(other) == {"median": 4.0, "lowest": 4.0, "highest": 4.0}
    assert_targets({"met": outcome.target(1.0, "<=", 1.0), "missed": outcome.target(1.0, ">=", 1.5)})
    assert outcome.target(float("nan"), ">=", 1) == {"value": None, "target": ">= 1", "met": False}


def test_methods_take_turns_and_each_repetition_starts_elsewhere() -> None:
    order: list[str] = []
    methods = {name: (lambda name=name: order.append(name)) for name in "abc"}
    costs = shared("harness.timing").measure(methods, 4, 3)
    assert "".join(order) == "abcbcacab"
    assert all(len(cost.cpu) == len(cost.wall) == 3 for cost in costs.values())


@pytest.fixture
def material(tmp_path: Path) -> Any:
    spec = ModelConfig(hidden_size=16, vocabulary_size=300, max_length=64)
    corpus = varied_corpus(tmp_path / "corpus", 96, shard_rows=32)
    run = write_noisy_checkpoints(tmp_path / "run", spec, corpus, 2)
    return shared("baselines.ray_passages").Material(corpus, run, 64)


def test_families_are_right_or_refused_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "families.md"
    only = [f"--only={family}" for family in ("bert", "gpt2:left", "fnet", "reformer", "layoutlmv2")]
    assert imported(BENCHMARKS / "families.py").main([*only, "--rows=6", f"--page={page}"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: aim["value"] for name, aim in told["targets"].items()} == {"wrong": 0, "bare": 0}
    found = {one["family"]: one for one in told["found"]}
    assert [one["state"] for one in found["bert"]["rules"].values()] == ["right"] * 3
    assert [one["state"] for one in found["fnet"]["rules"].values()] == ["refused"] * 3
    assert [one["state"] for one in found["fnet"]["loop"].values()] == ["right"] * 3
    # Reformer goes backward in training only: the loop has no gradients either, and what is refused is refused by name.
    assert [one["state"] for one in found["reformer"]["loop"].values()] == ["right", "refused", "refused"]
    assert found["layoutlmv2"]["state"] == "not built"
    assert "detectron2" in found["layoutlmv2"]["why"]
    lines = page.read_text().splitlines()
    assert "| bert | right | right | right |  |  |" in lines
    assert "| gpt2:left | right | right | right |  |  |" in lines
    assert any(line.startswith("| fnet | refused | refused | refused | el2n, grand, vog |") for line in lines)


def test_rows_that_are_all_alike_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, whys = imported(BENCHMARKS / "families.py"), []
    for place, name, other in (
        (making, "LETTERS", frozenset()),  # its own class would read each row as no words at all
        (truth, "loop", lambda _, rows: {"el2n": np.ones(len(rows))}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, other)
            assert script.main(["--only=qwen2", "--rows=4"]) == 0
        (told,) = json.loads(capsys.readouterr().out.splitlines()[-1])["found"]
        assert told["state"] == "not built"
        whys.append(told["why"])
    assert "reads the words as other tokens" in whys[0]
    assert "do not tell rows apart" in whys[1]


def test_a_family_with_a_wrong_number_or_a_bare_failure_misses_its_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = imported(BENCHMARKS / "families.py")
    loop, score = truth.loop, raysample.score

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a very own fault")

    for target, wrong in (("wrong", lambda *given: {k: 2 * v for k, v in loop(*given).items()}), ("bare", loop)):
        monkeypatch.setattr(truth, "loop", wrong)
        monkeypatch.setattr(raysample, "score", broken if target == "bare" else score)
        assert script.main(["--only=bert", "--rows=4"]) == 1
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert {name for name, aim in told["targets"].items() if not aim["met"]} == {target}


def test_the_loop_by_hand_gives_the_numbers_of_sweep(material: Any) -> None:
    scoring = imported(BENCHMARKS / "scoring.py")
    for scores in scoring.SETS.values():
        found = scoring.Found({name: shared("harness.timing").Cost(32) for name in (scoring.HAND, scoring.SWEEP)})
        values = scoring.take_turns(material, [0, 2], scores, found)
        assert list(values) == [0, 2]
        assert len(found.errors) == len(scores)
        assert max(found.errors.values()) <= scoring.TOLERANCE
        assert all(len(cost.cpu) == 2 for cost in found.costs.values())
        assert all(np.ptp(columns["el2n"]) > 0 for columns in values.values())


def test_rows_that_repeat_are_no_material(material: Any) -> None:
    rows = material.corpus.read(0)
    same = type("Same", (), {"read": lambda _self, _shard: rows.take([0, 0, 1])})()
    with pytest.raises(ValueError, match="two rows have the same tokens and label"):
        replace(material, corpus=same).shard(0)


def test_short_runs_on_ray_are_told_and_meet_nothing() -> None:
    scoring, passages = imported(BENCHMARKS / "scoring.py"), shared("baselines.ray_passages")
    cost = shared("harness.timing").Cost
    torch.set_num_threads(1)
    costs = {scoring.HAND: cost(100, [1.0], [1.0]), scoring.SWEEP: cost(100, [1.0], [1.0])}
    found = scoring.Found(costs)
    for seconds, claims in ((299.0, 1), (400.0, 5)):
        rates = (180.0, 95.0, 200.0)  # the mean of those with two actors is held against the one between them
        found.passages = [
            passages.Passage(1000, n, seconds / n, 10.0, rate, 93.0, {})
            for n, rate in zip((2, 1, 2), rates, strict=True)
        ]
        told = scoring.targets("gradients", found)
        assert_targets(told)
        assert len(told) == claims
    assert told["gradients: two actors / one, rows/s"] == {"value": 2.0, "target": ">= 1.8", "met": True}
    assert told["gradients: the same with the start-up"]["met"] is False
    assert told["gradients: ray with one actor / sweep, rows/CPU s"]["value"] == 0.93
    figures = found.one.figures()
    assert figures["rate_with_start_up"] == 2.5


def test_the_cpu_seconds_of_processes_are_seen_from_outside() -> None:
    passages = shared("baselines.ray_passages")
    code = "import sys, time\nwhile time.process_time() < 60: pass"
    with subprocess.Popen([sys.executable, "-c", code, "raysample-test-burner"]) as burner:
        try:
            with passages.cpu_seconds("raysample-test-burner", every=0.1) as noted:
                until = time.monotonic() + 60
                while len(noted) < 2 or noted[-1][1] <= noted[0][1]:
                    assert time.monotonic() < until
                    time.sleep(0.05)
        finally:
            burner.kill()
    assert passages.between([(10.0, 2.0), (20.0, 6.0)], 15.0, 20.0) == 2.0
    assert passages.between([(10.0, 0.0)], 0.0, 1.0) is None


def test_noise_redraws_exactly_its_share_among_the_other_classes() -> None:
    trials = shared("harness.label_errors")
    clean = pd.DataFrame({"id": range(200), "text": "words", "label": [f"class {i % 4}" for i in range(200)]})
    noisy = trials.with_noise(clean, 0.1, seed=3)
    assert noisy["wrong"].sum() == 20
    assert ((noisy["label"] != clean["label"]) == noisy["wrong"]).all()
    assert noisy.equals(trials.with_noise(clean, 0.1, seed=3))
    assert not noisy["wrong"].equals(trials.with_noise(clean, 0.1, seed=4)["wrong"])
    assert noisy["label"][noisy["wrong"]].nunique() == 4


def test_detection_counts_wrong_labels_among_the_hardest() -> None:
    detection = shared("harness.label_errors")
    wrong = np.array([True, False, True, False, False])
    assert detection.detection(np.array([5.0, 1, 4, 3, 2]), wrong) == {
        "auroc": 1.0,
        "average_precision": 1.0,
        "precision_at_k": 1.0,
    }
    assert detection.detection(np.array([5.0, 4, 3, 2, 1]), wrong)["precision_at_k"] == 0.5


def test_the_baseline_finds_a_label_that_the_words_speak_against() -> None:
    detection = shared("harness.label_errors")
    texts = ["calm lake", "quick dash"] * 20
    labels = ["calm", "quick"] * 20
    labels[0] = "quick"
    hardness = detection.word_baseline(pd.DataFrame({"text": [*texts, "round coin"], "label": [*labels, "round"]}))
    assert hardness[0] > hardness[1:-1].max()
    assert hardness[-1] == 1  # its class has too few rows for folds


@pytest.mark.slow
def test_agreement_on_simulated_traffic(capsys: pytest.CaptureFixture[str]) -> None:
    agreement = imported(BENCHMARKS / "agreement.py")
    assert agreement.main(["--quick", "--rows=500", "--seeds=1"]) == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert_targets(result["targets"])
    (found,) = result["found"].values()
    assert set(found["detection"]["scores"]) == set(agreement.USABLE) == set(found["with_length"])
    assert found["between_scores"]["el2n"]["el2n"] == 1
    assert found["detection"]["wrong"] == 50


@pytest.mark.slow
def test_a_further_day_of_a_log_visits_only_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    script = imported(BENCHMARKS / "logs.py")
    assert script.main(["--quick", "--parts", "days", "--day-rows=150", "--contents=120"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert_targets(result["targets"])
    assert [morning["new"] for morning in result["days"]["mornings"]] == [40, 40, 40]
    assert result["days"]["at_once"]["new"] == 120
    assert result["targets"]["last day: contents visited beyond the new ones"]["met"]


@pytest.mark.slow
def test_growth_tells_contents_memory_and_gain(forked: str) -> None:
    # as a program: its own processes must find it
    command = [forked, str(BENCHMARKS / "logs.py"), "--quick", "--parts", "growth", "--rows", "300", "900"]
    *shown, last = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    result = json.loads(last)
    assert_targets(result["targets"])
    assert all(result["growth"][rows]["gain"] > 0 for rows in ("300", "900"))
    sizes = [result["growth"][rows]["contents"] for rows in ("300", "900")]
    assert 0 < sizes[0] < sizes[1] < 900
    assert any(f"{sizes[1]:,}" in line for line in shown)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peaks there")
def test_only_a_process_own_workers_count() -> None:
    apart = shared("harness.isolated")
    with subprocess.Popen(["bash", "-c", "exec -a made-up::own sleep 60"]) as own:
        waiting = subprocess.Popen(
            ["bash", "-c", "(exec -a made-up::other sleep 60) & echo $!"], stdout=subprocess.PIPE
        )
        assert waiting.stdout
        other = psutil.Process(int(waiting.stdout.readline()))
        waiting.stdout.close()
        waiting.wait()  # so that the other is nobody's child here
        try:
            until = time.monotonic() + 20
            while not all(
                "".join(psutil.Process(pid).cmdline()).startswith("made-up::") for pid in (own.pid, other.pid)
            ):
                assert time.monotonic() < until  # not there yet, or about to become another program
            (peak,) = apart.peaks_below("made-up::")
            assert peak > 0
        finally:
            own.kill()
            other.kill()


def test_made_up_logs_repeat_as_they_say() -> None:
    making = shared("harness.made_logs")
    drawn = making.ranks(np.random.default_rng(0), 200_000, 1_000)
    shares = np.bincount(drawn, minlength=1_000) / len(drawn)
    # P(k) = ln((k + 2) / (k + 1)) / ln(1001), from floor(exp(u ln 1001) - 1)
    expected = np.log((np.arange(1_000) + 2) / (np.arange(1_000) + 1)) / np.log(1_001)
    assert abs(shares - expected).max() < 0.003
    texts = [making.text(number) for number in range(20_000)]
    assert len(set(texts)) == len(texts)


def test_faults_are_planned_by_their_seed_while_there_is_work() -> None:
    faults = shared("tests.helpers.chaos.faults")
    plan = faults.planned({"actor": 5, "driver": 2}, 40, seed=3)
    assert [fault.kind for fault in plan].count("driver") == 2
    assert len(plan) == 7
    moments = [fault.after for fault in plan]
    assert moments == sorted(moments)
    assert 1 <= moments[0] <= moments[-1] < faults.LAST * 40
    assert plan == faults.planned({"actor": 5, "driver": 2}, 40, seed=3)
    assert plan != faults.planned({"actor": 5, "driver": 2}, 40, seed=4)


@pytest.mark.parametrize(
    ("ids", "score", "expected"),
    [
        (["a", "b", "c"], [0.0, 1.0, 2.0], {"lost": 0, "doubled": 0, "differing": 0}),
        (["c", "a", "b"], [2.0, 0.0, 1.0], {"lost": 0, "doubled": 0, "differing": 0}),
        (["a", "b", "c"], [-0.0, 1.0, 2.0], {"lost": 0, "doubled": 0, "differing": 1}),
        (["a", "b"], [0.0, 1.0], {"lost": 1, "doubled": 0, "differing": -1}),
        (["a", "b", "c", "c"], [0.0, 1.0, 2.0, 2.0], {"lost": 0, "doubled": 1, "differing": -1}),
    ],
)
def test_what_faults_did_to_a_table_is_found(ids: list[str], score: list[float], expected: dict[str, int]) -> None:
    def table(ids: list[str], score: list[float]) -> Any:
        held = pa.table({"row_id": ids, "el2n": pa.array(score, pa.float32())})
        return SimpleNamespace(to_arrow=lambda: held)

    judging = shared("tests.helpers.chaos.judging")
    assert judging.differences(table(["a", "b", "c"], [0.0, 1.0, 2.0]), table(ids, score)) == expected


def test_the_toll_of_faults_counts_nodes_that_came_and_went() -> None:
    judging = shared("tests.helpers.chaos.judging")
    faults = [
        {"kind": "actor", "pid": 1},
        {"kind": "shard", "pids": [2, 3, 4]},
        {"kind": "replaced node", "pids": [5], "node": "a", "joined": "b"},
        {"kind": "replaced node", "pids": [6, 7], "node": "b", "joined": "c"},
        {"kind": "driver", "exit": -9},
    ]
    assert judging.losses({"faults": faults, "scored": ["a", "b"], "fallen": []}) == {
        "processes killed": 7,
        "nodes lost": 2,
        "nodes that joined": 2,
        "of these seen scoring": 1,
        "of these lost again": 1,
        "nodes that died by themselves": 0,
        "drivers killed": 1,
    }


def test_equal_arms_are_simulated_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = imported(BENCHMARKS / "verdicts.py")
    assert verdicts.main(["--quick", "--comparisons=10"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["targets"]["intervals_of_width_0"]["met"]
    assert len(found["found"]) == 3 * 2 * 3


def test_the_house_counts_homes_docstrings_and_frames() -> None:
    house = imported(BENCHMARKS / "house.py")
    one = "X = 1\nT = TypeVar('T')\n_Y = 2\ndef f(): ...\ndef _g(): 'Doc.'\nclass A:\n    def _m(self): ...\n"
    other = "from one import f\nT = TypeVar('T')\nX: int = 2\ndef h():\n    def f(): ...\nclass B: ...\n"
    modules = {"one": ast.parse(one), "other": ast.parse(other)}
    names = house.homes(modules)
    assert {kind: len(found) for kind, found in names.items()} == {"functions": 2, "classes": 2, "constants": 1}
    assert [house.several(found) for found in names.values()] == [{}, {}, {"X": ["one", "other"]}]
    assert house.private_functions(modules) == {"one: _g": True, "one: A._m": False}
    told = house.targets(
        {"rooms": ["a"] * 13, "layers": 13, "stack": [("a.py", "f")] * 11, "share of names with more homes": 0.2}
        | {"share of private functions documented": 0.7, "help": [0.5, 9.0, 0.6], "lines of benchmarks": 3_001}
    )
    assert_targets(told)
    assert [aim["met"] for aim in told.values()] == [False, True, False, False, True, True, False]
