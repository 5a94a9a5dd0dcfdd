"""Mistakes in a simulated project that only its checks show, and what a repairer makes of them."""
