"""HTTP as plain values, and a server on loopback."""
