"""What a run may spend, has reserved and has spent."""
