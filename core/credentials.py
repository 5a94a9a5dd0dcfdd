"""Secrets: resolved once from an environment handed in, masked wherever they might be shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

MASK = "********"
_LEAST_SECRET_CHARS = 8
_USER_AND_PASSWORD = re.compile(r"""(\S*?//)\S*@|[^\s/"']+:\S+@""")


def mask_password(text: str) -> str:
    """`text` without the user and password of an address."""
    return _USER_AND_PASSWORD.sub(rf"\1{MASK}@", text)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a client may authenticate with; an empty string where there is none. The standard
    environment variables are named like the fields, in upper case."""

    anthropic_api_key: str = ""
    anthropic_auth_token: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: str = ""
    aws_session_token: str = ""
    aws_bearer_token_bedrock: str = ""
    aws_profile: str = ""
    anthropic_custom_headers: str = ""
    """Read by the SDK itself; here for what is to be masked."""

    def __repr__(self) -> str:
        held = ", ".join(f.name for f in fields(self) if getattr(self, f.name))
        return f"Credentials(holds: {held or 'nothing'})"

    __str__ = __repr__

    def secrets(self) -> tuple[str, ...]:
        """The keys and tokens held."""
        others = ("aws_profile", "anthropic_custom_headers")
        names = (field.name for field in fields(self) if field.name not in others)
        return tuple(secret for name in names if (secret := getattr(self, name)))

    def header_values(self) -> set[str]:
        """What may be secret in the headers: not what is as short as a word."""
        lines = self.anthropic_custom_headers.splitlines()
        words = (word for line in lines for word in line.partition(":")[2].split())
        return {word for word in words if len(word) >= _LEAST_SECRET_CHARS}

    def mask(self, text: str) -> str:
        """`text` without any of the secrets held."""
        for secret in _held(self):
            text = text.replace(secret, MASK)
        return text


@lru_cache(maxsize=8)  # each text of a run is masked
def _held(credentials: Credentials) -> tuple[str, ...]:
    """What is to be masked: the longest first, as one may hold another."""
    held = {*credentials.secrets(), *credentials.header_values()}
    return tuple(sorted(held, key=len, reverse=True))


def resolve_credentials(environ: Mapping[str, str]) -> Credentials:
    """The credentials in the standard variables of `environ`, without white space around them."""
    names = (field.name for field in fields(Credentials))
    return Credentials(**{name: environ.get(name.upper(), "").strip() for name in names})
