"""Existing code: the base of a run, what a planner is shown of it, and the result, given back."""
