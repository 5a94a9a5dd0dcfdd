"""The code that a run changes: what is there, and what a planner is shown of it."""
