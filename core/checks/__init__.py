"""What shows that a project works: its commands, run in a sandbox, here or by a worker."""
