"""Credentials reach no terminal, log, error, report, stored configuration or MLflow; those of data are refused."""

from __future__ import annotations

import logging
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from rich.console import Console

from raysample.api.coercion import source_from
from raysample.cli import main
from raysample.core.config import AdoptConfig, RunConfig, SourceConfig, load, parse
from raysample.core.errors import ConfigError, StorageError
from raysample.core.progress import Reporter
from raysample.core.redaction import RedactingFormatter, credentials, is_secret, redact, redacted
from raysample.tracking.mlflow import values
from raysample.workflow import RunFolder

ADDRESSES = (
    "postgresql://bob:HUNTER2@h/db",
    "postgresql://bob:p@HUNTER2@h/db",
    "postgresql://:HUNTER2@h/db",
    "postgresql://bob:a/HUNTER2@h/db",
    "postgresql://bob:a?b#HUNTER2@h/db",
    "postgresql://bob:HUN'HUNTER2@h/db",
    "postgresql://bob:with space HUNTER2@h/db",
    "mysql+pymysql://bob:x%40HUNTER2@h:3306/db",
    "postgresql://h/db?user=b&password=HUNTER2",
    "postgresql://h/db?user=b&sslpassword=HUNTER2&x=1",
    "postgresql://h/db?user=b&pass%77ord=HUNTER2",
    "http://h/?token=HUNTER2",
    "http://HUNTER2@h/",
    "http://u:HUNTER2@[::1]:5000/",
    "http://h/?api_key=HUNTER2",
    "http://h/?apiKey=HUNTER2",
    "http://h/?x=1;access-token=HUNTER2",
    "http://h/#secret=HUNTER2",
    "http://h/?next=postgresql%3A%2F%2Fb%3AHUNTER2%40h",
    "https://b.s3.amazonaws.com/k?X-Amz-Signature=HUNTER2",
    "https://a.blob.core.windows.net/c?sv=1&sig=HUNTER2",
    "s3://KEY:HUN/TER+HUNTER2@bucket/path",
    "jdbc:sqlserver://h;user=b;password=HUNTER2",
)
HARMLESS = (
    "hdfs://nn:8020/a@b/c",
    "abfs://container@account.dfs.core.windows.net/x",
    "s3://bucket/a@2x/y?versionId=3",
    "http://h:80/?a=b@c",
    "ssh://git@h/x",
    "https://host/#/experiments/1",
    "sqlite:////data/mlflow.db",
    "hub:imdb",
    "runs/a b",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_form_of_an_address_keeps_its_credentials(address: str) -> None:
    assert "HUNTER2" not in redact(address)
    assert "HUNTER2" not in redact(f"OperationalError: cannot connect to {address!r}: refused")
    assert "HUNTER2" not in str(StorageError(f"cannot use {address!r}", f"check {address}"))
    assert "HUNTER2" not in str(pickle.loads(pickle.dumps(StorageError(f"cannot use {address!r}"))))
    config = parse({"tracking": {"uri": address}})
    assert "HUNTER2" not in yaml.safe_dump(redacted(config.to_dict()))
    assert "HUNTER2" not in str(values.params_of({"uri": address}) | values.tags_of({"error": f"at {address!r}"}))
    assert "HUNTER2" not in str(values.dataset_source(address)) + values.how_to_open(address, "1")


@pytest.mark.parametrize("address", HARMLESS)
def test_what_is_no_credential_stays(address: str) -> None:
    assert redact(address) == address
    assert not credentials(address)
    assert SourceConfig(path=address).path == address


@pytest.mark.parametrize(
    "text",
    [
        "host=h user=b password='HUN HUNTER2' x=1",
        "Authorization: Bearer HUNTER2",
        "{'password': 'HUNTER2', 'user': 'x'}",
        '{"token":"HUNTER2"}',
        "MLFLOW_TRACKING_PASSWORD=HUNTER2 raysample run",
        "aws_secret_access_key = HUNTER2",
    ],
)
def test_settings_in_a_text_lose_their_values(text: str) -> None:
    assert "HUNTER2" not in redact(text)
    assert redact(text) != text


def test_sentences_and_our_own_words_stay() -> None:
    for text in (
        "fine_tune.batch_size: expected an integer (got 'many')",
        "batch_tokens=4096, max_tokens: 64, tokenizer: tokenizer.json",
        "first pass: 5 rows; the token: x",
        "write for example key=value, or compare.seeds=[0, 1]",
        "4 of 5 rows: 3 at 1:30, a@b.c",
    ):
        assert redact(text) == text


def test_keys_that_name_credentials_are_known_by_whole_words() -> None:
    secret = ("password", "DB_PASSWORD", "apiKey", "api-key", "X-Amz-Security-Token", "AWSAccessKeyId", "client_secret")
    harmless = ("tokens", "batch_tokens", "tokenizer", "key", "keep", "author", "passes", "signal", "secretary")
    assert all(is_secret(key) for key in secret)
    assert not any(is_secret(key) for key in harmless)
    data = {"options": {"api_key": "HUNTER2", "tokens": 5, "list": ["http://u:HUNTER2@h"]}, "n": None}
    assert redacted(data) == {"options": {"api_key": "***", "tokens": 5, "list": ["http://***@h"]}, "n": None}


def test_the_stored_configuration_is_redacted_and_private(tmp_path: Path) -> None:
    for address in ADDRESSES[:3]:
        config = parse({"tracking": {"uri": address}, "output": str(tmp_path), "name": "r"})
        space = RunFolder.from_config(config)
        space.claim(config)
        stored = Path(space.at("config.yaml"))
        assert "HUNTER2" not in stored.read_text()
        for name in ("config.yaml", "run.json"):
            assert stat.S_IMODE(Path(space.at(name)).stat().st_mode) == 0o600
        again = load(stored)
        assert space.check(again)  # the folder is known again: what it is known by holds no credentials
        assert again.tracking.uri is not None
        with pytest.raises(StorageError, match="has no credentials any more") as caught:
            values.store_uri(again.tracking.uri)
        assert "MLFLOW_TRACKING_URI" in caught.value.advice


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("output", {"output": "s3://KEY:HUNTER2@bucket/runs"}),
        ("corpus.train.path", {"corpus": {"train": {"path": "https://h/x.parquet?sig=HUNTER2"}, "holdout": 0.1}}),
        ("model.path", {"model": {"path": "https://HUNTER2@huggingface.co/x"}}),
        ("adopt.path", {"adopt": {"path": ["s3://KEY:HUNTER2@b/x"]}}),
        ("log.source.path", {"log": {"source": {"path": "ftp://bob:HUNTER2@h/x"}}}),
        ("score.targets.t.path", {"score": {"targets": {"t": {"path": "http://h/?token=HUNTER2"}}}}),
    ],
)
def test_credentials_in_addresses_of_data_are_refused_by_name(key: str, data: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", "[.]")) as caught:
        parse(data)
    assert "give it by the environment" in caught.value.problem
    assert "HUNTER2" not in str(caught.value)


def test_they_are_refused_in_python_too_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="holds a password"):
        source_from("s3://KEY:HUNTER2@bucket/x", None)
    for wrong in (lambda: SourceConfig(path="s3://K:HUNTER2@b"), lambda: AdoptConfig(path="s3://K:HUNTER2@b")):
        with pytest.raises(ValidationError) as caught:
            wrong()
        assert "HUNTER2" not in str(caught.value)


def test_lines_and_log_records_are_redacted(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file:
        Reporter(Console(file=file)).say("MLflow: http://u:HUNTER2@h/")
    assert (tmp_path / "said").read_text().strip() == "MLflow: http://***@h/"
    formatter = RedactingFormatter()
    try:
        raise ValueError("postgresql://bob:HUNTER2@h/db")
    except ValueError:
        record = logging.LogRecord("x", 30, "f", 1, "at %s", ("http://u:HUNTER2@h",), sys.exc_info())
    line = formatter.format(record)
    assert "ValueError" in line
    assert "HUNTER2" not in line


def test_the_command_line_tells_credentials_neither_in_errors_nor_in_tracebacks(tmp_path: Path) -> None:
    program = f"""
import logging, sys
from raysample.cli import commands, main
def broken(**given):
    logging.getLogger("library").warning("retry http://u:HUNTER2@h")
    raise KeyError("postgresql://bob:HUNTER2@h/db")
commands.run_plan = broken
sys.exit(main.main(["plan", {str(tmp_path / "c.yaml")!r}]))
"""
    (tmp_path / "c.yaml").write_text("engine: {kind: local}\ntracking: {uri: 'http://u:HUNTER2@h'}\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "retry http://***@h" in done.stderr
    assert "KeyError: 'postgresql://***@h/db'" in done.stderr
    assert "HUNTER2" not in done.stderr + done.stdout


def test_a_wrong_value_is_shown_without_its_credentials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("name: 'http://u:HUNTER2@h'\n")
    assert main.main(["plan", str(tmp_path / "c.yaml")]) == 2
    assert main.main(["plan", str(tmp_path / "c.yaml"), "trackin.uri=http://u:HUNTER2@h"]) == 2
    assert main.main(["adopt", "s3://K:HUNTER2@b/none", "--output", str(tmp_path / "a")]) == 2
    said = capsys.readouterr()
    assert "HUNTER2" not in said.err + said.out


def test_defaults_hold_no_credentials() -> None:
    assert redacted(RunConfig().to_dict()) == RunConfig().to_dict()


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach 's3://K:HUNTER2@b/none': Invalid bucket name \"K:HUNTER2@b\": a name has no colon",
        "cannot read 'gs://K:HUNTER2@b/x': no bucket K:HUNTER2@b",
        "'postgresql://bob:HUNTER2@h/db' failed: could not connect to bob:HUNTER2@h",
    ],
)
def test_credentials_that_a_library_quotes_without_the_scheme_are_masked(text: str) -> None:
    assert "HUNTER2" not in redact(text)
    assert "***@" in redact(text)
