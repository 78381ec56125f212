"""Every overlay is rendered and checked; every rule is shown to catch a manifest that breaks it."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import raysample.version
from tests.helpers.kubernetes.crd_schemas import Schemas
from tests.helpers.kubernetes.kustomize_reader import Document, documents, render
from tests.helpers.kubernetes.operator_rules import operator_errors
from tests.helpers.kubernetes.policy_rules import policy_errors
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent for path in (K8S / "overlays").glob("*/kustomization.yaml"))
RENDERED = [*OVERLAYS, K8S / "cluster"]
VERSION = raysample.version.__version__
Edit = Callable[[Any], object]


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    folder = os.environ.get("RAYSAMPLE_KUBERAY_SCHEMAS")
    if not folder:
        pytest.skip("RAYSAMPLE_KUBERAY_SCHEMAS names no folder with KubeRay's schemas: fields are not checked")
    return Schemas(Path(folder))


def one(kind: str, folder: Path = K8S / "overlays" / "run") -> Document:
    return next(document for document in render(folder) if document["kind"] == kind)


def test_there_is_an_overlay_for_every_job() -> None:
    assert {path.name.replace("-", "_") for path in OVERLAYS} == {path.stem for path in (ROOT / "jobs").glob("*.py")}


@pytest.mark.parametrize("file", sorted(K8S.rglob("*.yaml")), ids=lambda path: str(path.relative_to(K8S)))
def test_every_file_is_yaml_of_a_kind(file: Path) -> None:
    assert all({"apiVersion", "kind"} <= document.keys() for document in documents(file))


@pytest.mark.parametrize("folder", RENDERED, ids=lambda path: path.name)
def test_manifests_follow_the_rules(folder: Path) -> None:
    rendered = render(folder)
    assert policy_errors(rendered, ROOT, VERSION) == []
    assert [e for d in rendered if d["kind"] in ("RayJob", "RayCluster") for e in operator_errors(d)] == []


@pytest.mark.parametrize("folder", RENDERED, ids=lambda path: path.name)
def test_manifests_follow_the_schemas(folder: Path, schemas: Schemas) -> None:
    assert [error for document in render(folder) for error in schemas.errors(document)] == []


@pytest.mark.parametrize("folder", RENDERED, ids=lambda path: path.name)
def test_our_reader_agrees_with_kustomize(folder: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here: only our own reader has rendered the overlays")
    printed = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, check=True, text=True).stdout

    def key(document: Document) -> tuple[str, str]:
        return document["kind"], document["metadata"]["name"]

    assert sorted(yaml.safe_load_all(printed), key=key) == sorted(render(folder), key=key)


@pytest.mark.parametrize("component", ["kueue", "gpu"])
def test_components_fit_a_job(component: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    mine = {"resources": ["k8s/overlays/score"], "components": [f"k8s/components/{component}"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    job = one("RayJob", tmp_path)
    assert job != one("RayJob", K8S / "overlays" / "score")
    assert operator_errors(job) == []
    assert request.getfixturevalue("schemas").errors(job) == []


def test_the_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-")
    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)


def test_the_example_configuration_loads_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(one("ConfigMap")["data"]["config.yaml"])
    assert raysample.core.config.load(tmp_path / "config.yaml").output == "/shared/runs"


def test_the_image_holds_what_the_manifests_name() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert any(line.startswith("COPY") and "jobs" in line for line in lines)
    assert "WORKDIR /opt/raysample" in lines
    assert lines[-1] == "USER 1000:1000"
    install = next(line for line in lines if "-c constraints.txt" in line)
    assert "'.[all]'" in install  # Ray, MLflow, the report and S3
    assert lines.index("COPY examples examples") < lines.index(install)  # the package holds them
    assert not any(line.startswith("FROM") and (":latest" in line or ":" not in line) for line in lines)


def cluster(job: Document) -> Any:
    return job["spec"]["rayClusterSpec"]


def head(job: Document) -> Any:
    return cluster(job)["headGroupSpec"]


def pod(job: Document) -> Any:
    return head(job)["template"]["spec"]


def autoscale(job: Document, **changes: Any) -> None:
    cluster(job).update({"enableInTreeAutoscaling": True, "autoscalerOptions": {"version": "v2"}}, **changes)


OPERATOR_TRAPS: dict[str, Edit] = {
    "DNS-1035": lambda job: job["metadata"].update(name="Raysample"),
    "at most 47": lambda job: job["metadata"].update(name="r" * 48),
    "ttlSecondsAfterFinished is negative": lambda job: job["spec"].update(ttlSecondsAfterFinished=-1),
    "needs shutdownAfterJobFinishes": lambda job: job["spec"].update(shutdownAfterJobFinishes=False),
    "suspend needs": lambda job: job["spec"].update(suspend=True, clusterSelector={"ray.io/cluster": "x"}),
    "deletionRules exclude shutdown": lambda job: job["spec"].update(deletionStrategy={"deletionRules": [{}]}),
    "exclude onSuccess": lambda job: job["spec"].update(deletionStrategy={"deletionRules": [{}], "onSuccess": {}}),
    "activeDeadlineSeconds": lambda job: job["spec"].update(activeDeadlineSeconds=0),
    "backoffLimit is negative": lambda job: job["spec"].update(backoffLimit=-1),
    "submissionMode 'K8SJob'": lambda job: job["spec"].update(submissionMode="K8SJob"),
    "one of rayClusterSpec": lambda job: job["spec"].pop("rayClusterSpec"),
    "SidecarMode excludes": lambda job: job["spec"].update(submissionMode="SidecarMode"),
    "SidecarMode wants": lambda job: (
        job["spec"].update(submissionMode="SidecarMode"),
        pod(job).update(restartPolicy="Always"),
    ),
    "InteractiveMode and": lambda job: job["spec"].update(submissionMode="InteractiveMode", backoffLimit=2),
    "runtimeEnvYAML": lambda job: job["spec"].update(runtimeEnvYAML="a: [b"),
    "at least one container": lambda job: pod(job).update(containers=[]),
    "quote them": lambda job: head(job)["rayStartParams"].update({"num-cpus": 0}),
    "not in both": lambda job: head(job).update(resources={"CPU": "1"}),
    "labels belong": lambda job: head(job)["rayStartParams"].update(labels="a=b"),
    "minReplicas <=": lambda job: cluster(job)["workerGroupSpecs"][0].update(replicas=9),
    "autoscaler v2 wants": lambda job: (autoscale(job), pod(job).update(restartPolicy="Always")),
    "exclude one another": lambda job: (
        autoscale(job),
        pod(job)["containers"][0]["env"].append({"name": "RAY_enable_autoscaler_v2", "value": "1"}),
    ),
    "needs enableInTreeAutoscaling": lambda job: pod(job)["containers"][0]["env"].append(
        {"name": "RAY_enable_autoscaler_v2", "value": "1"}
    ),
    "cannot be suspended": lambda job: (autoscale(job), cluster(job)["workerGroupSpecs"][0].update(suspend=True)),
    "without mode means NO": lambda job: cluster(job).update(authOptions={"secretName": "x"}),
    "2.52 or newer": lambda job: cluster(job).update(rayVersion="2.51.1"),
    "needs gcsFaultToleranceOptions": lambda job: pod(job)["containers"][0]["env"].append(
        {"name": "RAY_REDIS_ADDRESS"}
    ),
    "not in the head's environment": lambda job: (
        cluster(job).update(gcsFaultToleranceOptions={}),
        pod(job)["containers"][0]["env"].append({"name": "REDIS_PASSWORD"}),
    ),
    "not in rayStartParams": lambda job: (
        cluster(job).update(gcsFaultToleranceOptions={}),
        head(job)["rayStartParams"].update({"redis-password": "x"}),
    ),
    "redis user": lambda job: head(job)["rayStartParams"].update({"redis-username": "x"}),
}


@pytest.mark.parametrize("message", OPERATOR_TRAPS)
def test_every_operator_rule_catches_its_breach(message: str) -> None:
    job = copy.deepcopy(one("RayJob"))
    OPERATOR_TRAPS[message](job)
    assert any(message in error for error in operator_errors(job))


def test_a_cluster_may_have_a_longer_name_than_a_job() -> None:
    standing = one("RayCluster", K8S / "cluster")
    standing["metadata"]["name"] = "r" * 53
    assert operator_errors(standing) == []
    standing["metadata"]["name"] += "r"
    assert "at most 53" in operator_errors(standing)[0]


def change_config(rendered: dict[str, Document], old: str, new: str) -> None:
    data = rendered["ConfigMap"]["data"]
    assert old in data["config.yaml"]
    data["config.yaml"] = data["config.yaml"].replace(old, new)


def first(rendered: dict[str, Document]) -> Any:
    return pod(rendered["RayJob"])["containers"][0]


POLICY_TRAPS: dict[str, Edit] = {
    "package's version": lambda r: first(r).update(image="raysample:latest"),
    "runAsNonRoot": lambda r: pod(r["RayJob"])["securityContext"].update(runAsNonRoot=False),
    "seccompProfile": lambda r: pod(r["RayJob"])["securityContext"].pop("seccompProfile"),
    "privileges": lambda r: first(r).pop("securityContext"),
    "memory limit": lambda r: first(r)["resources"]["limits"].update(memory="1Ti"),
    "no cpu": lambda r: first(r)["resources"]["requests"].pop("cpu"),
    "no ConfigMap 'other'": lambda r: pod(r["RayJob"])["volumes"][1]["configMap"].update(name="other"),
    "no volume 'lost'": lambda r: first(r)["volumeMounts"][0].update(name="lost"),
    "part-of label": lambda r: head(r["RayJob"])["template"].pop("metadata"),
    "mode is not token": lambda r: cluster(r["RayJob"]).update(authOptions={"mode": "disabled"}),
    "head takes work": lambda r: head(r["RayJob"]).update(rayStartParams={}),
    "constraints.txt": lambda r: cluster(r["RayJob"]).update(rayVersion="2.55.0"),
    "backoffLimit is not set": lambda r: r["RayJob"]["spec"].pop("backoffLimit"),
    "names no script": lambda r: r["RayJob"]["spec"].update(entrypoint="python /opt/raysample/jobs/select.py"),
    "no volume is mounted": lambda r: r["RayJob"]["spec"].update(
        entrypoint="python /opt/raysample/jobs/run.py --config /config/config.yaml"
    ),
    "unknown key 'fine_tune.epoch'": lambda r: change_config(r, "epochs:", "epoch:"),
    "not on shared storage": lambda r: change_config(r, "/shared/runs", "runs"),
    "answer 403": lambda r: change_config(r, "mlflow.raysample.svc", "mlflow.elsewhere.svc"),
    "any page of a browser": lambda r: r["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"].append(
        "--allowed-hosts=*"
    ),
    "lets everybody in": lambda r: r["NetworkPolicy"]["spec"].update(ingress=[{}]),
    "closes the namespace": lambda r: r["NetworkPolicy"]["spec"].update(podSelector={"matchLabels": {"a": "b"}}),
}


@pytest.mark.parametrize("message", POLICY_TRAPS)
def test_every_policy_rule_catches_its_breach(message: str) -> None:
    rendered = render(K8S / "overlays" / "run")
    POLICY_TRAPS[message]({document["kind"]: document for document in reversed(rendered)})
    assert any(message in error for error in policy_errors(rendered, ROOT, VERSION))


SCHEMA_TRAPS: dict[str, Edit] = {
    "ttlSecondAfterFinished": lambda job: job["spec"].update(ttlSecondAfterFinished=1),
    "'tokens' is not one of": lambda job: cluster(job).update(authOptions={"mode": "tokens"}),
    "volumeMount'": lambda job: pod(job)["containers"][0].update(volumeMount=[]),
    "does not match": lambda job: pod(job)["containers"][0]["resources"]["limits"].update(memory="4 GB"),
    "is not of type": lambda job: cluster(job)["workerGroupSpecs"][0].update(maxReplicas="two"),
    "is a required property": lambda job: cluster(job)["workerGroupSpecs"][0].pop("groupName"),
}


@pytest.mark.parametrize("message", SCHEMA_TRAPS)
def test_the_schemas_catch_slips(message: str, schemas: Schemas) -> None:
    job = one("RayJob")
    SCHEMA_TRAPS[message](job)
    assert any(message in error for error in schemas.errors(job))


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PersistentVolumeClaim"])
def test_plain_objects_are_checked_as_well(kind: str, schemas: Schemas) -> None:
    document = one(kind)
    target = document["spec"]["template"]["spec"] if kind == "Deployment" else document["spec"]
    target["misspelt"] = 1
    assert any("misspelt" in error for error in schemas.errors(document))
