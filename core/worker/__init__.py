"""What surrounds a worker that has a process of its own."""
