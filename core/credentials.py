"""Secrets: resolved once from an environment handed in, masked wherever they might be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

MASK = "********"


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

    def __repr__(self) -> str:
        held = ", ".join(f.name for f in fields(self) if getattr(self, f.name))
        return f"Credentials(holds: {held or 'nothing'})"

    __str__ = __repr__

    def secrets(self) -> tuple[str, ...]:
        """The secret values held, for masking."""
        names = (field.name for field in fields(self) if field.name != "aws_profile")
        return tuple(secret for name in names if (secret := getattr(self, name)))

    def mask(self, text: str) -> str:
        """`text` without any of the secrets held."""
        for secret in sorted(self.secrets(), key=len, reverse=True):  # one may hold another
            text = text.replace(secret, MASK)
        return text


def resolve_credentials(environ: Mapping[str, str]) -> Credentials:
    """The credentials in the standard variables of `environ`, without white space around them."""
    names = (field.name for field in fields(Credentials))
    return Credentials(**{name: environ.get(name.upper(), "").strip() for name in names})
