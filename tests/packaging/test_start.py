"""Help, wrong commands and wrong options import nothing heavy; the examples come with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.cli.commands.examples import examples_folder

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "pyarrow", "pandas", "numpy", "scipy", "transformers", "datasets", "mlflow", "matplotlib")
HEAVY += ("pydantic", "yaml", "rich", "fsspec")

REPORTING = """
import sys
from raysample.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("\\nIMPORTED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported_by(*arguments: str) -> set[str]:
    """Return the top-level modules that a command of a process of its own imports."""
    done = subprocess.run([sys.executable, "-c", REPORTING, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("IMPORTED")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        [],
        ["no-such-command"],
        ["run", "--help"],
        ["sample", "run.yaml", "--no-such-option"],
        ["verify", "run.yaml", "--rows", "many"],
    ],
    ids=" ".join,
)
def test_what_needs_no_library_imports_none(arguments: list[str]) -> None:
    found = imported_by(*arguments)
    assert "argparse" in found
    assert found & set(HEAVY) == set()


def test_a_wrong_configuration_imports_no_framework() -> None:
    found = imported_by("run", "no-such-file.yaml")
    assert "pydantic" in found
    assert found & {"torch", "ray", "pyarrow", "pandas", "scipy", "transformers", "mlflow", "matplotlib"} == set()


def test_the_package_imports_none_of_them() -> None:
    code = "import sys, raysample; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(HEAVY) == set()


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "raysample", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"raysample {main.__version__}\n"


def test_examples_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["examples"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1].strip()]
    assert listed == sorted(path.stem for path in (ROOT / "examples").glob("*.yaml"))


def test_an_example_is_copied_and_never_replaces_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["examples", "demo"]) == 0
    assert (tmp_path / "demo.yaml").read_bytes() == (examples_folder() / "demo.yaml").read_bytes()
    (tmp_path / "demo.yaml").write_text("mine")
    assert main.main(["examples", "demo"]) == 2
    assert (tmp_path / "demo.yaml").read_text() == "mine"
    assert main.main(["examples", "demo", "--output", "other.yaml"]) == 0
    assert (tmp_path / "other.yaml").exists()
    assert main.main(["examples", "nothing"]) == 2
    assert "choose one of: demo, intents" in capsys.readouterr().err
