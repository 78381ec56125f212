"""Read a kustomization without kubectl: resources, components, namespace and JSON patches, and nothing else.

A key that this reader does not know is an error, so that it never disagrees silently with kustomize.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "patches"}
CLUSTER_WIDE = {"Namespace"}


def documents(file: Path) -> list[Document]:
    """Return the YAML documents of a file."""
    return copy.deepcopy(_parsed(file.read_text(encoding="utf-8")))


@functools.cache
def _parsed(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


def render(folder: Path) -> list[Document]:
    """Return the documents that `kubectl kustomize FOLDER` would print."""
    return _apply(_kustomization(folder), folder, [])


def _kustomization(folder: Path) -> Document:
    (content,) = documents(folder / "kustomization.yaml")
    if unknown := content.keys() - KNOWN:
        raise ValueError(f"{folder}: this reader does not know {sorted(unknown)}")
    return content


def _apply(content: Document, folder: Path, found: list[Document]) -> list[Document]:
    for name in content.get("resources", []):
        path = folder / name
        found += render(path) if path.is_dir() else documents(path)
    for name in content.get("components", []):
        found = _apply(_kustomization(folder / name), folder / name, found)
    for patch in content.get("patches", []):
        found = [_patched(document, patch) for document in found]
    if namespace := content.get("namespace"):
        for document in found:
            if document["kind"] not in CLUSTER_WIDE:
                document["metadata"]["namespace"] = namespace
    return found


def _patched(document: Document, patch: Document) -> Document:
    if document["kind"] != patch["target"]["kind"]:
        return document
    result = copy.deepcopy(document)
    for step in yaml.safe_load(patch["patch"]):
        _step(result, step)
    return result


def _step(document: Document, step: Document) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
    place: Any = document
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if step["op"] not in ("add", "replace") or (step["op"] == "replace" and last not in place):
        raise ValueError(f"cannot {step['op']} {step['path']}")
    place[last] = step["value"]
