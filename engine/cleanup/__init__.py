"""Stopping jobs that no scheduler works on, and removing what runs have left."""
