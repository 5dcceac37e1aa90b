"""What Prefect is told of steps: how often each is tried, which are Cached, and which flow they belong to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, clean_environment

SCRIPT = """
import json, sys, time
from pathlib import Path
import psutil
from cli.server import prefect_server

home = Path(sys.argv[1])
with prefect_server(home / "prefect", home / "prefect.log"):
    from prefect import flow, get_client
    from mlperf_submission.errors import AccuracyError, InvalidRunError
    from tasks.engine.runner import Live
    from tasks.engine.spec import Step, StepSpec
    from tasks.workspace import Workspace

    tried = []

    def failing(name, kind, part="performance"):
        def produce(folder, recorder):
            tried.append(name)
            raise kind("it is not what it should be")

        spec = StepSpec("measure", part, retries=2, again=lambda error: isinstance(error, InvalidRunError))
        return Step(spec, name, lambda: {"name": name}, produce)

    good = Step(StepSpec("make", "prepare"), "x", lambda: {"one": 1}, lambda folder, recorder: {})

    better = Step(StepSpec("improve", "prepare"), "x", lambda: {"two": 2}, lambda folder, recorder: {})

    def attempt(run, step):
        try:
            run(step)
        except (AccuracyError, InvalidRunError):
            pass

    @flow
    def night():
        run = Live(Workspace.at(home))
        attempt(run, failing("thrice", InvalidRunError))
        attempt(run, failing("once, since it may not", AccuracyError))
        attempt(Live(Workspace.at(home), measures_once=True), failing("once in a rehearsal", InvalidRunError))
        run(good)
        run.part("measure resnet50 Offline", lambda run: run(good))
        run.part("measure resnet50 Server", lambda run: (run(good), run(better)))

    def made(asset, label):
        spec = StepSpec(f"make_{asset}", "deliver", asset=asset)
        return Step(spec, label, lambda: {"of": label}, lambda folder, recorder: {})

    @flow
    def delivering(*assets):
        run = Live(Workspace.at(home), system="SR650 V3/é")
        for asset in assets:
            run(made(asset, "int8" if asset == "engine" else run.system))

    night()
    delivering("engine", "tree")
    delivering("engine", "tree", "page")
    with get_client(sync_client=True) as client:
        flows = {one.id: one.name for one in client.read_flow_runs()}
        made = []
        while len(made) < 4 or any(one.state_name in ("Pending", "Running") for one in made):
            time.sleep(0.5)  # the server learns of task runs by events, a moment later
            made = [one for one in client.read_task_runs() if one.name in ("make x", "improve x")]
        states = [(flows[one.flow_run_id].partition(" ")[0], one.name, one.state_name) for one in made]
        assets = []
        while not any(name.endswith("/page") for _, name, *_ in assets):
            time.sleep(0.5)
            filter = {"filter": {"event": {"prefix": ["prefect.asset."]}, "order": "ASC"}}
            events = client.request("POST", "/events/filter", json=filter).json()["events"]
            assets = [
                (
                    one["event"].rpartition(".")[2],
                    one["resource"]["prefect.resource.id"],
                    *sorted(id for of in one["related"] if "://" in (id := of["prefect.resource.id"])),
                )
                for one in events
            ]

    @flow
    def forsaken():
        run = Live(Workspace.at(home))
        [server] = [one for one in psutil.Process().children() if "uvicorn" in one.cmdline()]
        server.kill()
        server.wait()
        run.part("measure resnet50 Server", lambda run: run(Step(good.spec, "y", lambda: {}, good.produce)))

    forsaken()
    print(json.dumps({"tried": tried, "states": states, "assets": assets}))
"""


def test_steps_are_tried_again_found_and_shown_in_their_part(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tried"] == ["thrice"] * 3 + ["once, since it may not", "once in a rehearsal"]
    night, measured = (
        sorted(tuple(state) for flow, *state in told["states"] if (flow == "measure") is part)
        for part in (False, True)
    )
    assert night == [("make x", "Cached"), ("make x", "Completed")], "a part with nothing to do is no flow"
    engine, tree, page = (f"mlperf://SR650-V3-/{name}" for name in ("engine/int8", "tree", "page"))
    assert sorted(told["assets"]) == sorted(
        [
            ["succeeded", engine],
            ["referenced", engine],
            ["succeeded", tree, engine],
            ["referenced", engine],
            ["referenced", tree],
            ["succeeded", page, engine, tree],
        ]
    ), "each is told when it is made, not when it is found"
    assert measured == [("improve x", "Completed"), ("make x", "Cached")]
