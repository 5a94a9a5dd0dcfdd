"""Before anything is paid for: preflight and the forecast."""
