"""The installed program: one import name, and everything else in a private folder."""
