"""The helper that runs on a cluster's head node.

It travels as one archive, which that machine's python3 runs as it is, on the standard library of
Python 3.6, the oldest that head nodes have. This side uses only `paths` and `streams`.
"""
