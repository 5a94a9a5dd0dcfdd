"""The end of the line on a cluster's head node, where it runs alone.

It travels as one archive, which that machine's python3 runs as it is: with the standard library of
Python 3.6, which is as old as a head node's python3 gets. Only `names` and `streams` serve this
side too.
"""
