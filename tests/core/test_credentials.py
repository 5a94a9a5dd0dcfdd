"""Secrets never show where somebody might look."""

from __future__ import annotations

import pytest

from core.credentials import MASK, Credentials, mask_password, resolve_credentials

KEY, TOKEN = "sk-ant-canary-1", "sk-ant-canary-1-and-more"
ENVIRON = {"ANTHROPIC_API_KEY": KEY, "AWS_SESSION_TOKEN": TOKEN, "AWS_PROFILE": "team"}


def test_credentials_come_from_the_variables_of_the_environment_given() -> None:
    found = resolve_credentials(ENVIRON)
    assert found.anthropic_api_key == KEY
    assert found.aws_session_token == TOKEN
    assert found.aws_profile == "team"
    assert found.aws_secret_access_key == ""


def test_every_variable_is_read() -> None:
    names = (
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_ACCESS_KEY_ID"),
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"),
    )
    found = resolve_credentials({name: f"value of {name}" for name in names})
    assert set(found.secrets()) == {f"value of {name}" for name in names}


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    found = resolve_credentials({"ANTHROPIC_API_KEY": f"{KEY}\n", "AWS_PROFILE": " "})
    assert (found.anthropic_api_key, found.aws_profile) == (KEY, "")


def test_an_empty_environment_gives_nothing() -> None:
    assert resolve_credentials({}) == Credentials()
    assert Credentials().secrets() == ()
    assert repr(Credentials()) == "Credentials(holds: nothing)"


def test_no_text_made_of_credentials_shows_a_secret() -> None:
    held = resolve_credentials(ENVIRON)
    for text in (repr(held), str(held), f"{held}", f"{held!r:>90}", repr([held])):
        assert "canary" not in text
        assert "anthropic_api_key" in text


def test_masking_takes_every_secret_out_of_a_text() -> None:
    held = resolve_credentials(ENVIRON)
    assert held.mask(f"key {KEY}, again {KEY}") == f"key {MASK}, again {MASK}"
    assert held.mask("nothing here, team") == "nothing here, team"


def test_what_the_headers_of_a_gateway_hold_is_masked_and_no_key() -> None:
    headers = "X-Team: blue\nAuthorization: Bearer canary-token\nX-Key:canary-key-2\nodd"
    held = resolve_credentials({"ANTHROPIC_CUSTOM_HEADERS": headers})
    assert held.mask("blue Bearer canary-token canary-key-2") == f"blue Bearer {MASK} {MASK}"
    assert held.secrets() == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:secret@h:1/x now", f"at http://{MASK}@h:1/x now"),
        ("at http://me:se/cret@h", f"at http://{MASK}@h"),
        ("at me:secret@h:1", f"at {MASK}@h:1"),
        ("at http://h:1/x", "at http://h:1/x"),
        ("ask ada@example.org", "ask ada@example.org"),
    ],
)
def test_a_password_in_an_address_is_masked(text: str, shown: str) -> None:
    assert mask_password(text) == shown


def test_a_secret_that_holds_another_is_masked_whole() -> None:
    held = resolve_credentials(ENVIRON)
    assert held.mask(f"<{TOKEN}>") == f"<{MASK}>"
