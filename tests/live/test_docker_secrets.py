"""Canaries in place of every kind of credential, looked for wherever a container could show them.

The provider holds its first answer back, so that all is looked at while the worker has its keys.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.docker.container import PLANNER
from backends.docker.planner import DockerPlanner
from backends.docker.settings import DockerSettings
from claude.client.types import Hooks
from claude.simulation.server import SimulatedServer
from core.bundle import Limits, ModelSettings
from core.credentials import Credentials
from core.job import Outcome
from core.worker.planning import PlanningRequest
from tests.fakes.holding_api import HoldingApi
from tests.fakes.plans import make_plan
from tests.fakes.simulated import MODELS
from tests.live.docker_run import OPTIONS, DockerRun, docker_run, read_volume

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow]

API_KEY = Credentials(anthropic_api_key="sk-ant-canary-key")
TOKEN = Credentials(anthropic_auth_token="canary-auth-token")
BEARER = Credentials(aws_bearer_token_bedrock="canary-bearer-token")
KEYS = Credentials(
    aws_access_key_id="AKIACANARYKEY",
    aws_secret_access_key="canary/secret+key",
    aws_session_token="canary+session/token==",
)
WAYS = {
    "api-key": ("anthropic", API_KEY),
    "auth-token": ("anthropic", TOKEN),
    "aws-keys": ("bedrock", KEYS),
    "bearer-token": ("bedrock", BEARER),
}
DECOY = "canary-decoy-that-anybody-may-read"


@contextmanager
def held_run(
    place: Path, way: str, *, faults: str = ""
) -> Iterator[tuple[DockerRun, HoldingApi, tuple[str, ...]]]:
    """A run over loopback with credentials of this kind."""
    provider, credentials = WAYS[way]
    api = HoldingApi(faults)
    with (
        SimulatedServer(0, api) as server,
        docker_run(
            place,
            options={"docker_network": "host", "real": True, "provider": provider},
            credentials=credentials,
            model=ModelSettings(
                provider=provider, model=MODELS[provider], base_url=server.base_url
            ),
            plan=make_plan({"fast": []}, contracts={"decoy.txt": DECOY}),
        ) as live,
    ):
        try:
            yield live, api, credentials.secrets()
        finally:
            api.released.set()


def shown(live: DockerRun, task: str) -> dict[str, str]:
    """All that the engine tells of a container, by where it tells it."""
    name = live.name(task)
    with live.host._calling() as engine:
        found: Mapping[str, Any] = engine.inspect_container(name)
        image = str(found["Image"])
        history = engine.history(image)  # type: ignore[no-untyped-call]  # the stubs lack its types
        told = {
            "inspect": json.dumps(found),
            "image": json.dumps(live.host.image(image)),
            "history": json.dumps(history),
            "processes": json.dumps(engine.top(name, "auxewww")),
            "changes": json.dumps(engine.diff(name)),
            "log": live.host.log(name).decode(),
        }
    return told | {"volume": read_volume(live, task).decode(errors="replace")}


@pytest.mark.parametrize("way", WAYS)
def test_a_workers_credentials_show_nowhere_while_it_holds_them(way: str, tmp_path: Path) -> None:
    with held_run(tmp_path, way) as (live, api, secrets):
        [handle] = live.submit("fast")
        live.eventually(lambda: bool(api.asked), "the first request")
        sent = json.dumps(dict(api.asked[0].headers))
        assert any(secret in sent for secret in secrets), "it was not used at all"
        told = shown(live, "fast")
        assert "task.json" in told["volume"], "the search looked into no volume"
        assert "docker_executor.py" in told["processes"]
        assert _holding(told, secrets) == []
        api.released.set()
        live.wait_ended(handle)
        told = {"volume": read_volume(live, "fast").decode(errors="replace")}
        assert _holding(told, secrets) == []
        assert live.result(handle).outcome is Outcome.OK
        assert _left_in(tmp_path, secrets) == []


def test_a_model_that_looks_for_secrets_finds_none_beside_a_worker_that_holds_one(
    tmp_path: Path,
) -> None:
    with held_run(tmp_path, "api-key", faults="snooping=1") as (live, api, secrets):
        api.released.set()
        [handle] = live.submit("fast")
        live.wait_ended(handle)
        result = live.result(handle)
        assert result.outcome is Outcome.OK, result.message
        told = "\n".join(_texts(json.loads(api.asked[-1].body)))
        assert "HOME=/job/" in told, "no search took place"
        assert " read; " in told, "it did not come to its end"
        assert DECOY.encode().hex() in told, "it finds not even what is there"
        assert "ANTHROPIC_" not in told
        for secret in secrets:
            assert secret not in told
            assert secret.encode().hex() not in told
        assert _left_in(tmp_path, secrets) == []


def test_a_planners_credentials_show_nowhere_while_it_holds_them(tmp_path: Path) -> None:
    with held_run(tmp_path, "api-key") as (live, api, secrets):
        options = {**OPTIONS, "docker_network": "host"}
        planner = DockerPlanner(
            live.host,
            DockerSettings.read(options),
            live.home,
            live.clock,
            lambda: API_KEY,
            Hooks(),
        )
        assert live.model is not None
        request = PlanningRequest("Write a script that counts", live.model, Limits())
        seen: dict[str, str] = {}

        def look() -> None:
            live.eventually(lambda: bool(api.asked), "the planner's request")
            name = live.home.name(PLANNER)
            with live.host.archive(name, "/job") as chunks:
                seen["volume"] = b"".join(chunks or ()).decode(errors="replace")
            seen["inspect"] = json.dumps(live.host.inspect(name))
            seen["log"] = live.host.log(name).decode()
            api.released.set()

        looking = threading.Thread(target=look)
        looking.start()
        plan = planner.plan(request)
        looking.join()
        assert plan.tasks
        assert "planning.json" in seen["volume"]
        assert _holding(seen, secrets) == []
        assert live.host.inspect(live.home.name(PLANNER)) is None


def _holding(told: Mapping[str, str], secrets: tuple[str, ...]) -> list[str]:
    return [where for where, text in told.items() if any(secret in text for secret in secrets)]


def _left_in(place: Path, secrets: tuple[str, ...]) -> list[str]:
    """The files below `place` that hold a secret."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert files
    return [
        str(path)
        for path in files
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
