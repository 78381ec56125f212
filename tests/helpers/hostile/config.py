"""Configurations: whole files damaged in their words, sections and bytes, and overrides."""

from __future__ import annotations

from pathlib import Path
from random import Random

from raysample.core.config import load
from tests.helpers.hostile.damage import HOSTILE, byte_damage, file_damage, text_of
from tests.helpers.hostile.kinds import Kind

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in EXAMPLES]
WORDS = (
    *(
        "on",
        "yes",
        "2024-01-01",
        "1:30",
        "010",
        "0x1f",
        ".inf",
        "-.inf",
        ".nan",
        "1e999",
        "9" * 30,
        "9" * 5000,
        "~",
        "null",
    ),
    *(
        "[]",
        "{}",
        "[[[]]]",
        "*a",
        "&a",
        "&a [*a]",
        "!!python/object:os.system x",
        "!!binary x",
        "!x y",
        "<<",
        "? x",
        "- -",
    ),
    *(
        "{a: 1, a: 2}",
        "{a: &a {b: *a}}",
        '"\\ud800"',
        '"\\x00"',
        "'",
        '"',
        "|",
        ">",
        "%",
        "@",
        "`",
        "#",
        "---",
        "...",
        "\t",
    ),
    *(
        "[" * 50 + "]" * 50,
        "{a: " * 40 + "1" + "}" * 40,
        "x" * 5000,
        "[1, " * 9,
        "-1",
        "1.5",
        "é",
        "\u2028",
        "\ufeff",
        "a: b: c",
    ),
)
KEYS = (
    *("name", "output", "corpus", "corpus.train", "corpus.train.path", "corpus.train.where", "corpus.simulated.rows"),
    *("model.path", "model.hidden_size", "model.head_hidden", "model.freeze", "fine_tune.epochs", "fine_tune.seed"),
    *("fine_tune.learning_rate", "fine_tune.workers", "fine_tune.class_weights", "score.scores", "score.memory"),
    *("score.targets", "score.landmarks", "score.economy", "sample.budget", "compare.arms", "compare.seeds"),
    *(
        "compare.fractions",
        "tracking.uri",
        "log.source",
        "engine.address",
        "adopt.path",
        "adopt.labels",
        "a..b",
        "",
        "x",
    ),
    *("corpus.train.limits.value", "corpus.train.delimiter", "corpus.columns.levels", "report.examples"),
)


def attempt(rng: Random, templates: Path, scratch: Path) -> None:
    """Load one configuration."""
    del templates
    path = scratch / "given.yaml"
    lines = rng.choice(TEXTS).splitlines(keepends=True)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        _damage(rng, lines)
    data = "".join(lines).encode("utf-8", "surrogatepass")
    way = rng.random()
    path.write_bytes(byte_damage(rng, data) if way < 0.3 else data)
    if way > 0.98:
        file_damage(rng, path)
    load(path, [_override(rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))])


def _damage(rng: Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines)) if lines else 0
    way = rng.randrange(6)
    line = lines[at] if lines else "name: a\n"
    if way == 0:
        lines.insert(at, line)
    elif way == 1 and lines:
        del lines[at]
    elif way == 2:
        lines.insert(at, " " * rng.randrange(8) + rng.choice(WORDS) + rng.choice((":", ": 1", "")) + "\n")
    elif ":" in line and lines:
        value = rng.choice(WORDS) if way < 5 else text_of(rng.choice(HOSTILE))
        lines[at] = f"{line.partition(':')[0]}: {value}\n"
    elif lines:
        lines[at] = " " * rng.randrange(4) + line


def _override(rng: Random) -> str:
    value = rng.choice(WORDS) if rng.random() < 0.6 else text_of(rng.choice(HOSTILE))
    return f"{rng.choice(KEYS)}={value}"


KINDS = (Kind("config", 30_000, attempt),)
