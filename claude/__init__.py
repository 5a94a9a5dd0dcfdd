"""Reaching the model: clients of both providers, retries, prices, prompts and the simulation."""
