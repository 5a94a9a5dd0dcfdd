"""What an executor may do to files, and what counts as its result."""
