"""Which files nginx is asked about, and how."""

from __future__ import annotations

import pytest

from core.checks.nginx import command_for

WHOLE = "events {}\n\nhttp {\n  server { listen 80; }\n}\n"
PART = "# a site\nserver {\n  listen 80;\n}\n"


@pytest.mark.parametrize(
    ("path", "text", "begins"),
    [
        ("nginx.conf", WHOLE, 'conf="$PWD"/nginx.conf;'),
        (
            "deploy/app.nginx.conf",
            WHOLE,
            'conf="$PWD"/deploy/app.nginx.conf;',
        ),
        ("nginx/conf.d/my site.conf", PART, "conf=$(mktemp) && printf"),
        ("nginx.conf", "gzip on;\n", ""),
        ("app.conf", WHOLE, ""),
        ("nginx/conf.d/site.conf.template", PART, ""),
    ],
)
def test_only_what_is_a_configuration_or_sites_is_tested(path: str, text: str, begins: str) -> None:
    command = command_for(path, text)
    assert command.startswith(begins) if begins else command == ""
