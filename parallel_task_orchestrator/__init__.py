"""The installed face of the program: one import name, and everything else in a private folder."""
