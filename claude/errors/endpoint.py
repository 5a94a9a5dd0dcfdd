"""Who was asked and what was refused: what every message about a failed request is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.credentials import MASK

_MAX_DETAIL_CHARS = 500
# AWS answers a wrong signature with all that should have been signed, the session token included.
# That one may come from a profile, where no Credentials know it.
_BEFORE_SECRETS = (
    r"(?:x-amz-security-token|x-api-key|authorization)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+)?",
    r"credential=",
)
_SIGNED = re.compile(rf"(?i)({'|'.join(_BEFORE_SECRETS)})(?!aws4-hmac)[^\s\"',/]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who was asked, for messages. `mask` takes known secrets out, `now` is Unix time."""

    provider: str
    model: str
    region: str
    host: str
    mask: Callable[[str], str]
    now: Callable[[], float]

    def __str__(self) -> str:
        where = f"bedrock in {self.region}" if self.provider == "bedrock" else self.provider
        return f"{self.model} on {where} ({self.host})"

    def masked(self, text: str) -> str:
        """`text` without secrets, known ones and what stands where secrets do."""
        return self.mask(_SIGNED.sub(rf"\g<1>{MASK}", text))

    def told(self, text: str) -> str:
        """What a server or library said, fit for a message: masked, one line, short."""
        line = " ".join(self.masked(text).split()).rstrip(".")
        return line if len(line) <= _MAX_DETAIL_CHARS else line[: _MAX_DETAIL_CHARS - 1] + "…"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said: status, the vendor's name for the error, and its text, fit to show."""

    status: int
    name: str
    detail: str
    retry_after_s: float | None = None
    web_page: bool = False

    def says(self, *words: str) -> bool:
        """Whether the text has one of these."""
        text = self.detail.lower().replace("’", "'")  # AWS writes isn’t
        return any(word in text for word in words)
