"""Before a run costs anything: plan files, preflight and the forecast."""
