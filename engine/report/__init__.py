"""A run as a page for a browser: a file that is kept, or served while the run goes on."""
