"""Rate limits and retries: who may ask, and when to ask again."""
