"""Checks in a container beside the orchestrator, on whichever machine its Docker Engine is."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backends.docker.checks import DockerChecks
from backends.docker.client import DockerHost
from backends.docker.container import RunLabels
from backends.docker.settings import DockerSettings
from core.check_request import CheckRequest
from core.checks.registries import read_registries
from core.checks.runner import Tell
from core.clock import Clock
from core.errors import BackendError
from core.workspace.confined import remove_tree
from engine.delivery.merge import MergePlan
from engine.run.rundir import RunDir
from engine.verification.verify import MOST_MADE_BYTES, CheckRunner, ChecksNotRun, lay_out


@dataclass(frozen=True, slots=True)
class ContainerRunner(CheckRunner):
    """`environ` names the engine, as for the docker command."""

    run_dir: RunDir
    settings: DockerSettings
    environ: Mapping[str, str]
    clock: Clock

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"a container of {self.settings.docker_image}"

    def problem(self) -> str:
        """Why no container can be used here; or nothing."""
        with closing(DockerHost(self.environ)) as host:
            return self._checks(host).problem()

    def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        self.make(request, merged, tell, "")

    def make(self, request: CheckRequest, merged: MergePlan, tell: Tell, path: str) -> bytes | None:
        project = self.run_dir.checked_in_docker / "project"
        try:
            project.mkdir(parents=True, exist_ok=True)
            lay_out(merged, project)
            with closing(DockerHost(self.environ)) as host:
                return self._checks(host).run(project, request, tell, path, MOST_MADE_BYTES)
        except BackendError as exc:
            raise ChecksNotRun(exc.message.rstrip(".")) from exc
        finally:
            remove_tree(self.run_dir.verification)

    def _checks(self, host: DockerHost) -> DockerChecks:
        labels, home = RunLabels.of(self.run_dir.root), Path.home()
        registries = read_registries(self.environ, home)
        return DockerChecks(host, self.settings, labels, self.clock, registries)
