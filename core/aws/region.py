"""A region that does not exist, as cause and remedy."""

import re
from difflib import get_close_matches
from functools import cache


def region_failure(exc: Exception) -> tuple[str, str] | None:
    """Of a call that reached nobody in a region of which the SDK does not know; None for others."""
    from botocore.exceptions import EndpointConnectionError

    if not isinstance(exc, EndpointConnectionError):
        return None
    # a bucket's address in the oldest region has none: bucket.s3.amazonaws.com
    named = r"\.(?!s3)([a-z]+-[a-z0-9-]+)\.amazonaws\.com"
    host = re.search(named, str(exc.kwargs.get("endpoint_url")))
    if host is None or host[1] in _known():
        return None
    near = get_close_matches(host[1], _known(), 1)
    meant = f" to {near[0]}" if near else ""
    what = f"There seems to be no AWS region {host[1]!r}: its address could not be reached."
    return what, f"Correct the region{meant}."


@cache
def _known() -> tuple[str, ...]:
    """Those of the SDK, which takes a second to read its list."""
    from boto3 import Session

    session = Session()
    partitions = session.get_available_partitions()
    return tuple(r for name in partitions for r in session.get_available_regions("ec2", name))
