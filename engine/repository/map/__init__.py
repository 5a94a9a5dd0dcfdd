"""The map of existing code for the planner: its tree, definitions and manifests."""
