"""Bundles as tar streams."""
