"""Files that describe how a project runs: read, and their values loaded, without running them."""
