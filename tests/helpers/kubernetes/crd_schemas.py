"""Check objects against KubeRay's published schemas, strictly: a field that the schema does not name is an error.

The same schemas hold those of pods, services, claims and policies' peers, because a RayCluster embeds them; so the
plain Kubernetes objects are checked, too, without another download.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


class Schemas:
    """The schemas of a folder with `rayjobs.v1.schema.json.gz` and `rayclusters.v1.schema.json.gz`."""

    def __init__(self, folder: Path) -> None:
        crds = [_read(folder / f"{name}.v1.schema.json.gz") for name in ("rayjobs", "rayclusters")]
        self.by_kind = {crd["kind"]: strict(crd["openAPIV3Schema"]) for crd in crds}
        head = self.by_kind["RayCluster"]["properties"]["spec"]["properties"]["headGroupSpec"]["properties"]
        volume = head["template"]["properties"]["spec"]["properties"]["volumes"]["items"]["properties"]
        self.pod_template = head["template"]
        self.service_spec = head["headService"]["properties"]["spec"]
        self.claim_spec = volume["ephemeral"]["properties"]["volumeClaimTemplate"]["properties"]["spec"]

    def errors(self, document: Schema) -> list[str]:
        """Return what the schemas say against an object; kinds without a schema pass."""
        spec = document.get("spec", {})
        if document["kind"] in self.by_kind:
            return _errors(self.by_kind[document["kind"]], document)
        if document["kind"] == "Deployment":
            return _errors(self.pod_template, spec["template"])
        if document["kind"] == "Service":
            return _errors(self.service_spec, spec)
        return _errors(self.claim_spec, spec) if document["kind"] == "PersistentVolumeClaim" else []


def strict(schema: Any) -> Any:
    """Return a schema in which every listed object takes the listed fields only."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not open_ended:
            result["additionalProperties"] = False
    return result


def _read(file: Path) -> Schema:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return dict(json.load(stream))


def _errors(schema: Schema, value: Any) -> list[str]:
    found = Draft202012Validator(schema).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path)) or 'object'}: {error.message[:200]}" for error in found]
