"""A run on disk: its directory, journal, lock and attempts, and what is read out of them."""
