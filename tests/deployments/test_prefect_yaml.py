"""`prefect deploy` accepts unknown keys in silence, so they are looked for here."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, RawScheduleConfig
from prefect.cli.deploy._triggers import _initialize_deployment_triggers
from prefect.client.schemas.schedules import construct_schedule
from prefect.events import DeploymentEventTrigger
from prefect.flows import Flow, load_flow_from_entrypoint

from mlperf_submission.config.system import known_systems
from tasks.describe import HOST_CHANGED
from tests.conftest import ROOT

CONTENT: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_has_known_keys_a_flow_and_sound_parameters(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert set(deployment) <= set(DeploymentConfig.model_fields)
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    parameters = deployment.get("parameters", {})
    assert set(parameters) <= set(flow.parameters.properties)
    flow.validate_parameters(parameters)
    for schedule in deployment.get("schedules", []):
        assert set(schedule) <= set(RawScheduleConfig.model_fields)
        construct_schedule(cron=schedule["cron"], timezone=schedule["timezone"])
    for trigger in _initialize_deployment_triggers(deployment["name"], deployment.get("triggers", [])):
        assert trigger.model_fields_set >= {"name", "enabled"}
        assert isinstance(trigger, DeploymentEventTrigger)
        assert trigger.expect == {HOST_CHANGED}


def test_the_systems_that_are_deployed_are_there_and_each_has_its_queue() -> None:
    for one in DEPLOYMENTS:
        parameters = one["parameters"]
        named = {parameters[key] for key in ("system", "run") if key in parameters}
        assert named | set(parameters.get("systems", [])) <= set(known_systems()), one["name"]
        if one["entrypoint"] == "flows/submission.py:submission" and "rehearsal" not in one["tags"]:
            assert one["work_pool"]["work_queue_name"] == parameters["system"] == one["name"]


def test_what_measures_has_one_run_at_a_time() -> None:
    for one in DEPLOYMENTS:
        limit = ConcurrencyLimitSpec.model_validate(one.get("concurrency_limit", {}))
        measures = one["entrypoint"].startswith(("flows/submission.py:", "flows/regression.py:"))
        assert (limit.limit, limit.collision_strategy) == ((1, "ENQUEUE") if measures else (None, None)), one[
            "name"
        ]


def test_the_rehearsal_is_scheduled_and_paused() -> None:
    rehearsal = next(one for one in DEPLOYMENTS if one["name"] == "rehearsal")
    assert rehearsal["entrypoint"].startswith("flows/submission.py:")
    assert [schedule["active"] for schedule in rehearsal["schedules"]] == [False]


@pytest.mark.parametrize("wrong", [{"scenarios": ["Online"]}, {"full_length": "perhaps"}, {"systm": "x"}])
def test_wrong_parameters_are_refused_before_anything_runs(
    wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    flow: Flow[..., Any] = load_flow_from_entrypoint("flows/submission.py:submission")
    with pytest.raises(Exception, match=r"scenarios|full_length|systm"):
        flow.validate_parameters({"system": "rehearsal", **wrong})
