"""Versions of one file that several tasks changed, as one."""
