"""The simulated Claude: the real API's HTTP, answered without a model, a key or a network.

`transport` puts it below the real SDK in process, `server` serves it on loopback.
"""
