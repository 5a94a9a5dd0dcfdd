"""The existing code as a run's jobs get it: packed once, whole or, where it is large, the part that
the plan needs."""

from collections.abc import Callable

from core.bundle import BASE_NAMES
from core.job import Manifest
from core.plan import Plan
from core.workspace.base_tree import pack_base, pack_part
from engine.repository.part import BasePart, SendLimit, choose_part
from engine.run.attempt_store import GivenBase
from engine.run.rundir import RunDir


class PackedBase:
    """The BaseSupply of one session; `tell` takes the part that is sent."""

    def __init__(
        self,
        run: RunDir,
        manifest: Manifest,
        prompt: str,
        tell: Callable[[BasePart], None],
        limit: SendLimit | None = None,
    ) -> None:
        self.manifest = manifest
        self._run, self._prompt, self._tell = run, prompt, tell
        self._limit = limit or SendLimit()
        self._is_whole = self._limit.holds(manifest)
        self._given: tuple[Plan, GivenBase] | None = None
        self._whole: GivenBase | None = None

    def given(self, plan: Plan) -> GivenBase:
        if self._is_whole:
            return self.whole()
        if self._given is None or self._given[0] != plan:
            run = self._run
            part = choose_part(self.manifest, run.base, plan, self._prompt, self._limit)
            self._tell(part)
            ref = pack_part(run.base, part.sent, part.unsent, run.root / BASE_NAMES[0])
            self._given = plan, GivenBase(ref, part.sent, part.unsent)
        return self._given[1]

    def whole(self) -> GivenBase:
        if self._whole is None:
            archive = self._run.root / BASE_NAMES[0 if self._is_whole else 1]
            ref = pack_base(self._run.base, self.manifest, archive)
            self._whole = GivenBase(ref, self.manifest)
        return self._whole
