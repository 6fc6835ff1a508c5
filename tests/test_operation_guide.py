"""The runbook has a section for each thing that doctor, readiness and alerts can report, and no other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ultraread.serving.doctor import EVERY_CHECK
from ultraread.serving.readiness import LOOKS
from ultraread.serving.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "deploy" / "cluster"
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
ALERTS = [rule["alert"] for group in RULES for rule in group["rules"]]
SECTION = re.compile(r"^### (doctor|readyz|alert): (\w+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("of", "names"), [("doctor", EVERY_CHECK), ("readyz", LOOKS), ("alert", tuple(ALERTS))]
)
def test_everything_that_can_be_reported_has_its_section(of: str, names: tuple[str, ...]) -> None:
    guide = (ROOT / "docs" / "guides" / "operate.md").read_text()
    assert [name for kind, name in SECTION.findall(guide) if kind == of] == list(names)


def test_every_alert_says_what_is_wrong_in_a_sentence() -> None:
    for rule in (rule for group in RULES for rule in group["rules"]):
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"page", "warn"}


def test_the_cluster_example_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultraread.serving.cluster import refuse_incomplete

    stated = tomllib.loads((CLUSTER / "ultraread.toml").read_text())
    del stated["database_url_file"]
    refuse_incomplete(Settings(**stated, database_url="postgresql://user:password@host/ultraread"))


def test_the_kubernetes_example_refers_only_to_what_there_is() -> None:
    documents = list(yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text()))
    by_kind: dict[str, Any] = {document["kind"]: document for document in documents}
    job = by_kind["RayJob"]["spec"]
    stated = tomllib.loads((CLUSTER / "ultraread.toml").read_text())
    groups = [job["rayClusterSpec"]["headGroupSpec"], *job["rayClusterSpec"]["workerGroupSpecs"]]
    assert sum(group.get("replicas", 1) for group in groups) > stated["replicas"], "one to be spared"
    for group in groups:
        assert int(group["rayStartParams"]["num-cpus"]) == stated["cpus"]
        _hold_pod(group["template"], by_kind, stated)
    selected = by_kind["Service"]["spec"]["selector"]
    assert selected == by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]


def _hold_pod(template: dict[str, Any], by_kind: dict[str, Any], stated: dict[str, Any]) -> None:
    pod = template["spec"]
    assert template["metadata"]["labels"] == by_kind["Service"]["spec"]["selector"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {one["name"]: one["mountPath"] for each in pod["containers"] for one in each["volumeMounts"]}
    assert mounted.keys() == volumes.keys()
    assert mounted["data"] == stated["data_dir"]
    assert Path(stated["database_url_file"]).parent == Path(mounted["settings"])
    assert (
        volumes["data"]["persistentVolumeClaim"]["claimName"]
        == by_kind["PersistentVolumeClaim"]["metadata"]["name"]
    )
    assert by_kind["RayJob"]["spec"]["entrypoint"].endswith(f"{mounted['settings']}/ultraread.toml")
    assert pod["terminationGracePeriodSeconds"] >= Settings(data_dir=Path("/nowhere")).grace_s
    ports = {port["name"] for each in pod["containers"] for port in each.get("ports", [])}
    assert {port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]} <= ports
