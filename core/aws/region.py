"""A region that does not exist, as cause and remedy."""

import re
from difflib import get_close_matches


def region_failure(exc: Exception) -> tuple[str, str] | None:
    """Of a call that reached nobody in a region of which the SDK does not know; None for others."""
    from boto3 import Session
    from botocore.exceptions import EndpointConnectionError

    if not isinstance(exc, EndpointConnectionError):
        return None
    host = re.search(r"\.([a-z0-9-]+)\.amazonaws\.com", str(exc.kwargs.get("endpoint_url")))
    session = Session()
    partitions = session.get_available_partitions()
    known = [r for name in partitions for r in session.get_available_regions("ec2", name)]
    if host is None or host[1] in known:
        return None
    near = get_close_matches(host[1], known, 1)
    meant = f" to {near[0]}" if near else ""
    what = f"There seems to be no AWS region {host[1]!r}: its address could not be reached."
    return what, f"Correct the region{meant}."
