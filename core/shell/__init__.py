"""Commands of a model and of a project: each with limits, and nothing left behind."""
