"""The endpoint that was asked and the refusal it sent: the parts of every error message."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.bundle import ModelSettings
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
    """What was asked, for messages. `mask` hides known secrets, `now` is Unix time."""

    model: ModelSettings
    host: str
    mask: Callable[[str], str]
    now: Callable[[], float]

    def __str__(self) -> str:
        region = f" in {self.model.region}" if self.is_bedrock else ""
        return f"{self.model.model} on {self.model.provider}{region} ({self.host})"

    @property
    def is_bedrock(self) -> bool:
        return self.model.provider == "bedrock"

    def masked(self, text: str) -> str:
        """`text` without secrets: known ones, and what stands where secrets do."""
        return self.mask(_SIGNED.sub(rf"\g<1>{MASK}", text))

    def detail(self, text: str) -> str:
        """The text of a server or library, fit for a message: masked, one line, short."""
        line = " ".join(self.masked(text).split()).rstrip(".")
        return line if len(line) <= _MAX_DETAIL_CHARS else line[: _MAX_DETAIL_CHARS - 1] + "…"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's refusal: status, the vendor's name for the error, and its text, fit to show.
    `location` is where a redirect leads; empty for all else."""

    status: int
    name: str
    detail: str
    retry_after_s: float | None = None
    web_page: bool = False
    location: str = ""

    def matches(self, pattern: str) -> bool:
        """Whether `pattern` is found in "name: text", in lower case."""
        text = f"{self.name}: {self.detail}".lower().replace("’", "'")  # AWS writes isn’t
        return re.search(pattern, text) is not None
