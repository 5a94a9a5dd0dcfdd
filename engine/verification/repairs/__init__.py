"""Repairs: what failed is traced to files, repaired by a task, and judged by code."""
