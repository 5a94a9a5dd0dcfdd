"""What is used of the vendor's SDK, imported at once: threads that come first together wait for one
of them. That takes a third of a second, so import this where it is used."""

# ruff: noqa: I001 - the first line makes those below it quick
import claude.sdk.lazy_packages  # noqa: F401
from anthropic import Anthropic as Anthropic
from anthropic import AnthropicError as AnthropicError
from anthropic import APIConnectionError as APIConnectionError
from anthropic import APIError as APIError
from anthropic import APIStatusError as APIStatusError
from anthropic import Stream as Stream
from anthropic._utils._logs import setup_logging

setup_logging()  # as ANTHROPIC_LOG says
