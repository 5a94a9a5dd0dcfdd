"""The address at which workers reach Claude."""

from urllib.parse import urlsplit

from core.settings.worker import WorkerSettings


def provider_address(settings: WorkerSettings) -> tuple[str, int]:
    """Host and port of the provider."""
    if settings.provider == "bedrock":
        default = f"https://bedrock-runtime.{settings.region}.amazonaws.com"
        url = urlsplit(settings.bedrock_base_url or default)
    else:
        url = urlsplit(settings.base_url or "https://api.anthropic.com")
    return url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
