"""Traces of a run for OpenTelemetry, where an endpoint was named for them."""
