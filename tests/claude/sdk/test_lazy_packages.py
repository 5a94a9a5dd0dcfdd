"""Tests for claude.sdk.lazy_packages: the vendor's SDK is the same, and most of it unread."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def run(program: str, given: object = None) -> Any:
    """What a new process prints of it, in JSON."""
    text = f"import json, sys\n{program}"
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_client_needs_none_of_is_not_imported() -> None:
    loaded = "print(json.dumps(list(sys.modules)))"
    modules = set(run(f"import claude.sdk\n{loaded}"))
    assert "anthropic._client" in modules
    unused = {"anthropic.resources", "anthropic.lib.vertex", "anthropic.lib.streaming"}
    unused |= {"anthropic.types.message", "anthropic.types.beta.message_create_params"}
    assert not unused & modules


def test_a_span_that_somebody_asks_for_is_ended() -> None:
    program = (
        "import claude.sdk, anthropic, httpx2\n"
        "from unittest.mock import MagicMock\n"
        "from opentelemetry.trace import TracerProvider, set_tracer_provider\n"
        "provider = MagicMock(spec=TracerProvider)\n"
        "set_tracer_provider(provider)\n"
        "answer = httpx2.MockTransport(lambda _: httpx2.Response(200, json={'data': []}))\n"
        "client = anthropic.Anthropic(api_key='x', open_telemetry={'traces': {}},"
        " http_client=httpx2.Client(transport=answer))\n"
        "client.models.list()\n"
        "span = provider.get_tracer.return_value.start_span.return_value\n"
        "print(json.dumps(span.end.call_count))"
    )
    assert run(program) == 1


def test_every_name_is_given_out_as_by_the_sdk_itself() -> None:
    named = (
        "given = [(n, getattr(anthropic, n)) for n in names]\n"
        "print(json.dumps([(n, type(v).__name__, getattr(v, '__name__', '')) for n, v in given]))"
    )
    plain = run(f"import anthropic\nnames = sorted(anthropic.__all__)\n{named}")
    names = [name for name, *_ in plain]
    assert len(names) > 50
    lazy = run(f"import claude.sdk, anthropic\nnames = json.load(sys.stdin)\n{named}", names)
    assert lazy == plain


def test_types_and_resources_can_still_be_had() -> None:
    program = (
        "import claude.sdk, anthropic\n"
        "from anthropic.types.beta import BetaMessage\n"
        "client = anthropic.Anthropic(api_key='x')\n"
        "print(json.dumps([anthropic.types.Message.__name__, BetaMessage.__name__,"
        " type(client.beta.messages).__name__, hasattr(anthropic, 'Nothing')]))"
    )
    assert run(program) == ["Message", "BetaMessage", "Messages", False]
