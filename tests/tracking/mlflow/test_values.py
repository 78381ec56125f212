"""Pure rules: names, addresses, redaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysample.tracking.mlflow import values

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:pw@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://ada:p@ss@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=a&password=pw&x=1", "postgresql://host/db?user=a&password=***&x=1"),
        ("https://host/#/experiments/1", "https://host/#/experiments/1"),
    ],
)
def test_redact_hides_credentials_only(text: str, shown: str) -> None:
    assert values.redact(text) == shown


def test_where_of_a_server_is_its_page() -> None:
    assert values.how_to_open("http://ada:pw@host:5000/", "7") == "http://host:5000/#/experiments/7"


def test_a_relative_sqlite_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert values.store_uri("sqlite:///runs/m.db") == values.store_uri("runs/m.db") == f"sqlite:///{tmp_path}/runs/m.db"
    assert values.store_uri("https://host") == "https://host"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("hub:imdb", "hugging_face"), ("https://h/x", "http"), ("s3://b/x", "s3"), ("data", "local")],
)
def test_sources_are_named_by_their_scheme(uri: str, kind: str) -> None:
    assert values.dataset_source(uri)[0] == kind


def test_names_keep_only_what_mlflow_allows() -> None:
    assert values.mlflow_name("hard(vog|class)") == "hard_vog_class_"
    assert values.mlflow_name("") == "_"
    assert len(values.mlflow_name("x" * 999)) == 250
