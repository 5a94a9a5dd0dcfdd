"""Failures of providers, networks and AWS, as errors of the project."""
