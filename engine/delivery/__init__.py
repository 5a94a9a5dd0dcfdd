"""From the tasks' results to the target directory."""
