"""What a planner writes: its schema, and reading it while it is written."""
