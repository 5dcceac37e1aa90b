"""What cannot be started here (containers, systemd, a cluster) is judged by validators of its own kind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.models.batch_v1 import Job
from prefect.events.schemas.automations import AutomationCore
from prefect.settings.legacy import _get_valid_setting_names
from prefect.settings.models.root import Settings
from prefect.utilities.templating import apply_values, find_placeholders

from flows.notify import HEADLINES
from tests.conftest import PROGRAM, ROOT

DEPLOYMENTS = ROOT / "deployments"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
UNIT = DEPLOYMENTS / "mlperf-worker.service"
TEMPLATE: dict[str, Any] = json.loads((DEPLOYMENTS / "kubernetes-job-template.json").read_text())


def installed(program: str) -> str:
    """Return the path of a program of the environment."""
    return str(PROGRAM.with_name(program))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


# The server


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    checked = run(
        installed("check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        str(DEPLOYMENTS / "compose.yaml"),
    )
    assert checked.returncode == 0, checked.stdout


def test_the_servers_settings_are_known_to_prefect() -> None:
    known = _get_valid_setting_names(Settings)
    own = COMPOSE["x-prefect"]["environment"]
    assert {name for name in own if not name.startswith("PREFECT_REDIS_")} <= known
    for name in ("api", "services", "migrate"):
        assert COMPOSE["services"][name]["environment"] == own


def test_only_the_api_is_published_and_only_on_the_loopback_address() -> None:
    published = {
        name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service
    }
    assert published == {"api": ["${PREFECT_ADDRESS:-127.0.0.1:4200}:4200"]}
    assert COMPOSE["networks"]["data"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert COMPOSE["services"][name]["networks"] == ["data"]


def test_no_secret_stands_in_a_file_and_none_has_a_default() -> None:
    text = (DEPLOYMENTS / "compose.yaml").read_text()
    for secret in ("POSTGRES_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING"):
        uses = re.findall(rf"\$\{{{secret}[^}}]*\}}", text)
        assert uses
        assert all(use.startswith(f"${{{secret}:?") for use in uses), "it must be refused when it is missing"
    for example in ("server.env.example", "worker.env.example"):
        for line in (DEPLOYMENTS / example).read_text().splitlines():
            name, _, value = line.partition("=")
            is_secret = any(word in name for word in ("PASSWORD", "AUTH_STRING", "SECRET", "KEY"))
            assert not (is_secret and value), f"{example} holds a value of {name}"
    named = set(re.findall(r"\$\{(\w+)", text))
    assert named <= set(
        re.findall(r"^(\w+)=", (DEPLOYMENTS / "server.env.example").read_text(), re.MULTILINE)
    )


def test_the_image_has_the_prefect_that_the_constraints_name() -> None:
    version = re.search(r"^prefect==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version
    assert f"${{PREFECT_VERSION:-{version[1]}}}" in COMPOSE["x-prefect"]["image"]
    assert f"PREFECT_VERSION={version[1]}" in (DEPLOYMENTS / "server.env.example").read_text()


# The workers


def test_the_worker_image_passes_hadolint_and_takes_in_no_secrets() -> None:
    checked = run(
        installed("hadolint"), "--failure-threshold", "info", str(DEPLOYMENTS / "worker.Dockerfile")
    )
    assert checked.returncode == 0, checked.stdout
    taken = (DEPLOYMENTS / "worker.Dockerfile.dockerignore").read_text().splitlines()
    assert taken[1] == "*" and taken[-1] == "**/*.env"
    folders = {line[1:] for line in taken if line.startswith("!")}
    assert all((ROOT / folder).exists() for folder in folders)
    built = re.search(r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert built and set(json.loads(built[1])) <= folders


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program
    # The one thing that the check cannot find here is the installed project.
    unit.write_text(text.replace(program[1], installed("prefect")))
    checked = run("systemd-analyze", "verify", "--man=no", str(unit))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_host_measures_one_run_at_a_time_and_ends_all_of_it_together() -> None:
    text = UNIT.read_text()
    assert "--limit 1" in text and "--limit 1" in (DEPLOYMENTS / "worker.Dockerfile").read_text()
    assert "KillMode=control-group" in text and "Restart=always" in text
    assert "EnvironmentFile=/etc/mlperf-submission/worker.env" in text


def test_the_worker_writes_where_it_must_though_the_system_is_read_only() -> None:
    text = UNIT.read_text()
    assert "ProtectSystem=strict" in text
    assert "PrivateTmp=yes" in text, "the temporary folder of the host is read-only, and Prefect needs one"
    (made,) = re.findall(r"ExecStartPre=\+.* (\S+)$", text, re.MULTILINE)
    (folder,) = re.findall(r"^WorkingDirectory=(\S+)$", text, re.MULTILINE)
    assert made == f"{folder}/work"
    (writable,) = re.findall(r"^ReadWritePaths=(.+)$", text, re.MULTILINE)
    assert {"/run/lock", f"-{made}"} == set(writable.split())


# Kubernetes


def job(**values: Any) -> dict[str, Any]:
    """Return the job that a Kubernetes worker makes of the template."""
    defaults = {
        name: variable["default"]
        for name, variable in TEMPLATE["variables"]["properties"].items()
        if "default" in variable
    }
    given = {"name": "round", "command": ["prefect", "flow-run", "execute"], "env": [], "labels": {}}
    filled = apply_values(TEMPLATE["job_configuration"], {**defaults, **given, **values}, remove_notset=True)
    manifest: dict[str, Any] = filled["job_manifest"]
    return manifest


def test_every_placeholder_is_a_variable_and_every_variable_is_used() -> None:
    placeholders = {found.name for found in find_placeholders(TEMPLATE["job_configuration"])}
    assert placeholders == set(TEMPLATE["variables"]["properties"])


@pytest.mark.parametrize(
    "values", [{}, {"gpus": 3, "node_selector": {"system": "SR650"}, "finished_job_ttl": 60}]
)
def test_the_job_is_one_that_kubernetes_knows(values: dict[str, Any]) -> None:
    manifest = job(image="registry.example.org/mlperf-submission:1", **values)
    known = Job.from_dict(manifest).to_dict()  # raises on wrong types, and leaves out what Kubernetes has not
    assert json.loads(json.dumps(known)) == manifest
    pod = manifest["spec"]["template"]["spec"]
    assert pod["containers"][0]["name"] == "prefect-job", "prefect-kubernetes refuses any other name"
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": values.get("gpus", 1)}


def test_pods_of_one_node_share_the_hosts_lock_and_the_finished_steps() -> None:
    pod = job(image="x")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/run/lock"] == "/run/lock"
    assert mounts["/opt/mlperf-submission/work"] == "/var/lib/mlperf-submission/work"
    assert job(image="x")["spec"]["backoffLimit"] == 0, "a run is never started again behind Prefect's back"


# Notifications


def test_the_automations_are_sound_and_listen_to_events_that_are_sent() -> None:
    heard: set[str] = set()
    for content in yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]:
        actions = [
            {**action, "block_document_id": "00000000-0000-0000-0000-000000000001"}
            if "block_document_id" in action
            else action
            for action in content["actions"]
        ]
        automation = AutomationCore.model_validate({**content, "actions": actions})
        assert set(content) <= set(AutomationCore.model_fields)
        assert set(content["trigger"]) <= set(type(automation.trigger).model_fields)
        heard |= set(content["trigger"]["expect"])
    assert {event for event in heard if event.startswith("mlperf.")} == set(HEADLINES)
