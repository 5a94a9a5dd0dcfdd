"""Options of a backend that stand on the command line in vain."""

from backends import BACKENDS
from config import SETTINGS, LoadedSettings
from core.settings.options import Group

_USERS = {
    Group.DOCKER: ("docker",),
    Group.BATCH: ("batch",),
    Group.SLURM: ("slurm", "parallelcluster"),
    Group.PARALLELCLUSTER: ("parallelcluster",),
}
"""The backends that read the settings of a group."""


def unused_options(loaded: LoadedSettings) -> list[str]:
    """A sentence for each option of a backend that a run would not use. None for a backend of
    others, which may read any."""
    backend = loaded.settings.backend
    used = {group for group, names in _USERS.items() if backend in names or backend not in BACKENDS}
    may_check_in_docker = loaded.settings.real and backend == "threading"
    if loaded.settings.planner_in_docker or may_check_in_docker:
        used.add(Group.DOCKER)
    unused = (s for s in SETTINGS if s.group in _USERS and s.group not in used and not s.sets)
    needs = {group: f"--backend {' or '.join(names)}" for group, names in _USERS.items()}
    needs[Group.DOCKER] += " or --docker-planner-in-docker"
    return [
        f"{s.flag} has no effect here: it needs {needs[s.group]}."
        for s in unused
        if loaded.origin[s.key].startswith("option ")
    ]
