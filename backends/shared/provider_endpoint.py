"""Where the workers of a backend will ask for Claude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def provider_address(settings: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port that workers will ask."""
    if settings.get("provider") == "bedrock":
        region = settings.get("region") or "eu-central-1"
        usual, given = f"https://bedrock-runtime.{region}.amazonaws.com", "bedrock_base_url"
    else:
        usual, given = "https://api.anthropic.com", "base_url"
    url = urlsplit(str(settings.get(given) or usual))
    return url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
