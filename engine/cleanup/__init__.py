"""Jobs of runs seen from outside: stopping them, reading their logs, removing what they left."""
