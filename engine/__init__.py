"""The host's side of a run: scheduling, the journal, merging and what a person sees."""
