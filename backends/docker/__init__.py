"""Executors in containers of a Docker Engine."""
