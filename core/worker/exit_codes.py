"""The exit codes of workers, beside 0 for work that came to its end."""

import signal

FAILED = 1
CLAIMED = 75
"""EX_TEMPFAIL: another worker had taken the attempt before."""
OUTDATED = 78
"""EX_CONFIG: the worker's code is of another version than the job."""
STOPPED = 128 + signal.SIGTERM
"""What a shell reports for a process that SIGTERM ended."""
