"""What raysample asks of its own manifests: versions, rights, memory, authentication, storage, who may talk to whom."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from raysample.core.config import RunConfig, parse
from raysample.core.errors import RaysampleError

Document = dict[str, Any]
IMAGE_ROOT = "/opt/raysample/"


def policy_errors(documents: list[Document], root: Path, version: str) -> list[str]:
    """Return what a rendered overlay lacks; `root` is the repository, `version` the package's."""
    found = []
    for document in documents:
        for path, template in templates(document):
            where, pod = f"{document['kind']} {document['metadata']['name']} {path}", template["spec"]
            if template.get("metadata", {}).get("labels", {}).get("app.kubernetes.io/part-of") != "raysample":
                found.append(f"{where}: without the part-of label the network policies do not know the pod")
            found += [f"{where}: {error}" for error in _pod_errors(pod, version)]
            found += [f"{where}: {error}" for error in _reference_errors(pod, documents)]
        found += _ray_errors(document, root)
    return [*found, *_config_errors(documents), *_network_errors(documents)]


def templates(value: Any, path: str = "") -> Iterator[tuple[str, Document]]:
    """Yield every pod template inside an object, with the way to it."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return
    if isinstance(value.get("spec"), dict) and isinstance(value["spec"].get("containers"), list):
        yield path.strip("."), value
        return
    for key, inner in value.items():
        yield from templates(inner, f"{path}.{key}")


def _containers(value: Any) -> list[Document]:
    return [container for _, template in templates(value) for container in template["spec"]["containers"]]


def _pod_errors(pod: Document, version: str) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser", 1) == 0:
        yield "runAsNonRoot is not set"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"
    for container in pod["containers"]:
        yield from (f"{container['name']}: {error}" for error in _container_errors(container, version))


def _container_errors(container: Document, version: str) -> Iterator[str]:
    if container["image"].rpartition(":")[2] != version:
        yield f"the image {container['image']!r} does not carry the package's version {version}"
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    if context.get("allowPrivilegeEscalation") is not False or "ALL" not in context.get("capabilities", {}).get(
        "drop", []
    ):
        yield "privileges are not dropped"
    memory = [resources.get(side, {}).get("memory") for side in ("requests", "limits")]
    if memory[0] is None or memory[0] != memory[1]:
        yield "the memory limit differs from the request"
    if "cpu" not in resources.get("requests", {}):
        yield "no cpu is requested"


def _reference_errors(pod: Document, documents: list[Document]) -> Iterator[str]:
    have = {(document["kind"], document["metadata"]["name"]) for document in documents}
    names = {volume["name"] for volume in pod.get("volumes", [])}
    for volume in pod.get("volumes", []):
        for key, field, kind in (
            ("configMap", "name", "ConfigMap"),
            ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim"),
        ):
            if key in volume and (kind, volume[key][field]) not in have:
                yield f"there is no {kind} {volume[key][field]!r}"
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in names:
                yield f"there is no volume {mount['name']!r}"


def _ray_errors(document: Document, root: Path) -> Iterator[str]:
    if document["kind"] not in ("RayJob", "RayCluster"):
        return
    spec = document["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode is not token"
    if cluster["headGroupSpec"].get("rayStartParams", {}).get("num-cpus") != "0":
        yield 'the head takes work; set num-cpus to "0"'
    if f"ray=={cluster.get('rayVersion')}" not in (root / "constraints.txt").read_text().split():
        yield f"rayVersion {cluster.get('rayVersion')} is not the Ray of constraints.txt"
    if document["kind"] == "RayJob":
        yield from _job_errors(spec, root)


def _job_errors(spec: Document, root: Path) -> Iterator[str]:
    for key in ("activeDeadlineSeconds", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"):
        if not spec.get(key):
            yield f"{key} is not set"
    words = shlex.split(spec["entrypoint"])
    scripts = [word.removeprefix(IMAGE_ROOT) for word in words if word.endswith(".py")]
    if not scripts or not all((root / script).is_file() for script in scripts):
        yield f"the entrypoint {spec['entrypoint']!r} names no script of jobs/"
    mounts = [mount["mountPath"] for c in _containers(spec) for mount in c.get("volumeMounts", [])]
    config = words[words.index("--config") + 1] if "--config" in words else ""
    if config.rpartition("/")[0] not in mounts:
        yield f"no volume is mounted where the entrypoint looks for its configuration ({config!r})"


def _config_errors(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        try:
            config = _config(document)
        except RaysampleError as error:
            yield f"ConfigMap {document['metadata']['name']}: {error}"
            continue
        if config is None:
            continue
        if not config.output.startswith(("/shared/", "s3://", "gs://")):
            yield f"the output {config.output!r} is not on shared storage: a retried job would start again"
        yield from _host_errors(config.tracking.uri or "", documents)


def _config(document: Document) -> RunConfig | None:
    text = document.get("data", {}).get("config.yaml") if document["kind"] == "ConfigMap" else None
    return None if text is None else parse(yaml.safe_load(text))


def _host_errors(uri: str, documents: list[Document]) -> Iterator[str]:
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    arguments = [argument for container in _containers(deployments) for argument in container.get("args", [])]
    hosts = [a.partition("=")[2].split(",") for a in arguments if a.startswith("--allowed-hosts=")]
    if not any(uri.partition("://")[2] in allowed for allowed in hosts):
        yield f"MLflow would answer 403 to {uri!r}: its host is not in --allowed-hosts"
    if any("*" in allowed for allowed in hosts):
        yield "--allowed-hosts with * lets any page of a browser in"


def _network_errors(documents: list[Document]) -> Iterator[str]:
    policies = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    if not any(not p["podSelector"] and "Ingress" in p["policyTypes"] and not p.get("ingress") for p in policies):
        yield "no NetworkPolicy closes the namespace"
    if any(not rule.get("from") for policy in policies for rule in policy.get("ingress", [])):
        yield "a NetworkPolicy lets everybody in"
