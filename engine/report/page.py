"""The page as one file: its first part as HTML, all else as one block of JSON that a script draws.

Nothing is loaded from elsewhere; a policy in the page allows its own script and style by their
digests, and nothing else.
"""

import base64
import json
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("base.js", "charts.js", "lists.js", "details.js", "main.js")


def render_page(data: Mapping[str, Any], outcome: str, *, is_live: bool = False) -> str:
    """`data` is the model with what the page has of details, every text of it masked; `outcome` is
    HTML."""
    script = "\n".join(_read(name) for name in _SCRIPTS)
    style = _read("page.css")
    connect = "'self'" if is_live else "'none'"
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}';"
        f" connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    title = f"{data['run']['title'] or data['run']['id']}: {data['run']['state']}"
    return Template(_read("page.html")).substitute(
        policy=policy,
        title=escape(title),
        style=style,
        outcome=outcome,
        data=embedded_json(data),
        script=script,
    )


def embedded_json(value: object) -> str:
    """JSON in which no parser finds the end of a script, nor of a line."""
    text = json.dumps(value, separators=(",", ":"))  # in ASCII: no U+2028, no half of a pair
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
