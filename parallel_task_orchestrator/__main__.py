"""`python3 -m parallel_task_orchestrator` is the command line."""

import sys

from parallel_task_orchestrator.launcher import main

sys.exit(main())
