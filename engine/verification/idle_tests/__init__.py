"""Tests of which none can fail, since they assert nothing, or only what they themselves hold.

The check that runs them shows nothing. What is not understood may fail.
"""
