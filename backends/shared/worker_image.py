"""What the images and jobs of all container backends have in common."""

LABEL = "parallel-orchestrator"
"""What the names of labels and tags begin with."""
CODE_DIR = "/opt/orchestrator"
"""Where docker/Dockerfile puts this program."""
WORKER_TOOLS = "Python 3.12 and its standard library, Node 24, git and POSIX tools"
"""What docker/Dockerfile offers commands."""


def worker_command(entry: str, *arguments: str) -> list[str]:
    """Runs a worker's entry script in a container."""
    return ["python", f"{CODE_DIR}/{entry}", *arguments]
