"""Which mistakes a simulated project has: drawn once a plan, each in one place, from the seed.

A planner and all executors of a run come to the same, in whatever process, since only the seed and
the sample decide. No file has two of them, so that the texts that a sample can come to are few.
"""

from collections.abc import Collection, Mapping

from claude.simulation.mistakes.places import (
    FORMS,
    PLACES,
    Mistake,
    Texts,
    commands_of,
    is_code,
    is_test,
    tree_of,
)
from claude.simulation.mistakes.texts import CHEATS, cheat, leave, take_back, test_names
from claude.simulation.sample_projects import SampleProject, find_sample
from claude.simulation.seeded_random import draw, pick
from core.paths import is_owned
from core.plan import Plan


class Mistakes:
    """Those of one seed; `chances` are those of --sim-faults."""

    def __init__(self, chances: Mapping[str, float], seed: int) -> None:
        self._chances, self._seed = chances, seed

    def happens(self, fault: str, *names: str) -> bool:
        """Whether the fault is drawn for what has these names."""
        return draw(self._seed, "fault", fault, *names) < self._chances.get(fault, 0.0)

    def of_files(self, sample: SampleProject | None) -> Texts:
        """The files, and contracts, that are other than they should be; of no sample, none."""
        made = self._made(sample) if sample else []
        return {path: text for mistake in made for path, text in mistake.texts.items()}

    def _made(self, sample: SampleProject) -> list[Mistake]:
        title, made = sample.plan.title, list[Mistake]()
        for fault, find in PLACES.items():
            if self.happens(fault, title):
                taken = {path for mistake in made for path in mistake.texts}
                left = [each for each in find(sample) if taken.isdisjoint(each.texts)]
                made += [pick(left, self._seed, fault, title, "place")] if left else []
        return made

    def repair(
        self, sample: SampleProject, owns: tuple[str, ...], number: int, failing: Collection[str]
    ) -> Texts:
        """What the repairer with that `number` writes on the paths that it owns: the first may
        cheat, by a test that is `failing`; who owns no mistake leaves a remark."""
        tree = tree_of(sample)
        owned = [path for path in sorted(tree) if is_owned(owns, path)]
        if number == 1 and self.happens("cheat", sample.plan.title):
            return self._cheat(sample, owned, failing)
        mended = {p: t for each in self._made(sample) for p, t in each.mended.items() if p in owned}
        written = {path for files in sample.files.values() for path in files if is_code(path)}
        code = [path for path in owned if path in written]
        return mended or {path: leave(tree[path]) for path in code[:1]}

    def _cheat(
        self, sample: SampleProject, owned: Collection[str], failing: Collection[str]
    ) -> Texts:
        """A test shows no more; of who owns none, a contract promises less."""
        now, title = tree_of(sample) | dict(self.of_files(sample)), sample.plan.title
        tests = [(path, name) for path in owned if is_test(path) for name in test_names(now[path])]
        if seen := [each for each in tests if each[1] in failing] or tests:
            path, name = seen[0]
            way = pick(CHEATS, self._seed, "cheat", title, "way")
            return {path: cheat(now[path], name, way)}
        contracts = [each.path for each in sample.plan.contracts if each.path in owned]
        return {path: take_back(now[path]) for path in contracts[:1]}

    def of_plan(self, plan: Plan) -> Plan:
        """The plan with its contracts as they are spoiled, and with bad checks, if it is ours."""
        if (sample := find_sample(plan.title)) is None:
            return plan
        spoiled = self.of_files(sample)
        contracts = [
            contract.model_copy(update={"content": spoiled.get(contract.path, contract.content)})
            for contract in plan.contracts
        ]
        plan = plan.model_copy(update={"contracts": tuple(contracts)})
        replaced: dict[str, str] = {}
        for fault, forms in FORMS.items():
            left = [c for c in commands_of(sample.plan) if c not in replaced]
            if left and self.happens(fault, plan.title):
                command = pick(left, self._seed, fault, plan.title, "place")
                form = pick(forms, self._seed, fault, plan.title, "form")
                replaced[command] = form(command)
        return _replace_commands(plan, replaced)


def _replace_commands(plan: Plan, replaced: Mapping[str, str]) -> Plan:
    tasks = [
        task.model_copy(update={"checks": tuple(replaced.get(c, c) for c in task.checks)})
        for task in plan.tasks
    ]
    criteria = [
        criterion.model_copy(update={"command": replaced.get(criterion.command, criterion.command)})
        for criterion in plan.acceptance_criteria
    ]
    return plan.model_copy(update={"tasks": tuple(tasks), "acceptance_criteria": tuple(criteria)})
