"""What the KubeRay operator 1.7 refuses in a RayJob or RayCluster though the schemas take it, as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Document = dict[str, Any]
NAME_LIMIT = {"RayJob": 47, "RayCluster": 53}
SUBMISSION_MODES = {"K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"}
RAY_RESOURCES = {"num-cpus", "num-gpus", "memory", "resources"}


def operator_errors(document: Document) -> list[str]:
    """Return what the operator would refuse, or take and do otherwise than meant, in a RayJob or RayCluster."""
    kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
    found = []
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > NAME_LIMIT[kind]:
        found.append(f"the name {name!r} is not a DNS-1035 label of at most {NAME_LIMIT[kind]} characters")
    if kind == "RayCluster":
        return found + _cluster_errors(spec)
    found += [*_life_errors(spec), *_submission_errors(spec)]
    return found + (_cluster_errors(spec["rayClusterSpec"]) if "rayClusterSpec" in spec else [])


def _life_errors(spec: Document) -> Iterator[str]:
    shutdown, strategy = spec.get("shutdownAfterJobFinishes", False), spec.get("deletionStrategy", {})
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield "ttlSecondsAfterFinished is negative"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("suspend") and (not shutdown or spec.get("clusterSelector")):
        yield "suspend needs shutdownAfterJobFinishes and excludes clusterSelector"
    if strategy.get("deletionRules") and shutdown:
        yield "deletionRules exclude shutdownAfterJobFinishes"
    if strategy.get("deletionRules") and ("onSuccess" in strategy or "onFailure" in strategy):
        yield "deletionRules exclude onSuccess and onFailure"
    if spec.get("activeDeadlineSeconds", 1) <= 0:
        yield "activeDeadlineSeconds must be positive"
    if spec.get("backoffLimit", 0) < 0:
        yield "backoffLimit is negative"


def _submission_errors(spec: Document) -> Iterator[str]:
    mode, selector = spec.get("submissionMode", "K8sJobMode"), spec.get("clusterSelector")
    head = spec.get("rayClusterSpec", {}).get("headGroupSpec", {}).get("template", {}).get("spec", {})
    if mode not in SUBMISSION_MODES:
        yield f"submissionMode {mode!r} is not one of {sorted(SUBMISSION_MODES)}"  # the schema takes any string
    if not selector and "rayClusterSpec" not in spec:
        yield "one of rayClusterSpec and clusterSelector is needed"
    if mode == "SidecarMode":
        if any(key in spec for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector")):
            yield "SidecarMode excludes submitterPodTemplate, submitterConfig and clusterSelector"
        if head.get("restartPolicy", "Never") != "Never":
            yield "SidecarMode wants the head's restartPolicy Never or unset"
    if (mode == "InteractiveMode" or selector) and spec.get("backoffLimit", 0) > 0:
        yield "InteractiveMode and clusterSelector exclude backoffLimit above 0"
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML", ""))
    except yaml.YAMLError:
        yield "runtimeEnvYAML is not valid YAML"


def _cluster_errors(spec: Document) -> list[str]:
    groups = {"head": spec["headGroupSpec"]} | {g["groupName"]: g for g in spec.get("workerGroupSpecs", [])}
    found = [error for name, group in groups.items() for error in _group_errors(name, group)]
    return [*found, *_autoscaler_errors(spec, groups), *_auth_errors(spec), *_redis_errors(spec)]


def _group_errors(name: str, group: Document) -> Iterator[str]:
    params = group.get("rayStartParams", {})
    if not group["template"]["spec"].get("containers"):
        yield f"{name}: at least one container is needed"
    if any(not isinstance(value, str) for value in params.values()):
        yield f"{name}: rayStartParams values are strings; quote them"
    if RAY_RESOURCES & params.keys() and group.get("resources"):
        yield f"{name}: resources stand in rayStartParams or in resources, not in both"
    if "labels" in params:
        yield f"{name}: labels belong to the group, not to rayStartParams"
    low, wanted, high = (group.get(key) for key in ("minReplicas", "replicas", "maxReplicas"))
    if low is not None and high is not None and not low <= (low if wanted is None else wanted) <= high:
        yield f"{name}: minReplicas <= replicas <= maxReplicas does not hold"


def _autoscaler_errors(spec: Document, groups: dict[str, Document]) -> Iterator[str]:
    scales = spec.get("enableInTreeAutoscaling", False)
    variable = _environment(spec).get("RAY_enable_autoscaler_v2")
    if scales and spec.get("autoscalerOptions", {}).get("version") == "v2":
        for name, group in groups.items():
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield f"{name}: autoscaler v2 wants restartPolicy Never or unset"
        if variable is not None:
            yield "autoscalerOptions.version and RAY_enable_autoscaler_v2 exclude one another"
    if not scales and variable in ("1", "true"):
        yield "RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling"
    if scales and any(group.get("suspend") for group in groups.values()):
        yield "a worker group cannot be suspended with the autoscaler on"


def _auth_errors(spec: Document) -> Iterator[str]:
    options = spec.get("authOptions", {})
    if options and "mode" not in options:
        yield "authOptions without mode means NO authentication, though the field's description says otherwise"
    if options.get("mode") == "token":
        version = re.match(r"(\d+)\.(\d+)", str(spec.get("rayVersion", "")))
        if version is None or tuple(map(int, version.groups())) < (2, 52):
            yield "authOptions.mode token needs rayVersion 2.52 or newer"


def _redis_errors(spec: Document) -> Iterator[str]:
    names, params = _environment(spec), spec["headGroupSpec"].get("rayStartParams", {})
    if "gcsFaultToleranceOptions" not in spec and "RAY_REDIS_ADDRESS" in names:
        yield "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
    if "gcsFaultToleranceOptions" in spec and ({"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"} & names.keys()):
        yield "redis is set in gcsFaultToleranceOptions, not in the head's environment"
    if "gcsFaultToleranceOptions" in spec and "redis-password" in params:
        yield "redis-password is set in gcsFaultToleranceOptions, not in rayStartParams"
    if "redis-username" in params or "REDIS_USERNAME" in names:
        yield "the redis user is set in gcsFaultToleranceOptions only"


def _environment(spec: Document) -> dict[str, Any]:
    containers = spec["headGroupSpec"]["template"]["spec"].get("containers", [])
    return {entry["name"]: entry.get("value") for entry in (containers[0].get("env", []) if containers else [])}
