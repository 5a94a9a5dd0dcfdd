"""The address at which workers reach Claude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def provider_address(settings: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port of the provider."""
    if settings.get("provider") == "bedrock":
        region = settings.get("region") or "eu-central-1"
        default, name = f"https://bedrock-runtime.{region}.amazonaws.com", "bedrock_base_url"
    else:
        default, name = "https://api.anthropic.com", "base_url"
    url = urlsplit(str(settings.get(name) or default))
    return url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
