"""The scheduler: one loop in one thread, and the parts it asks for decisions."""
