"""One request to Claude, one reply, over the vendor's SDK."""
