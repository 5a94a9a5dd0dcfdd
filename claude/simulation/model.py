"""The simulated model: from a request to an answer, as a pure function. An executor's next step
follows from what is shown as done, so its files are the same whatever faults came between."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from claude.simulation.answers import Answer, Part, tool_answer, tool_part
from claude.simulation.cli_tools import RUN, remove_command, to_cli
from claude.simulation.conversation import DROPPED, Conversation, read_conversation
from claude.simulation.existing import plan_change, write_changes
from claude.simulation.misbehaviour import REFUSAL, Misbehaviour
from claude.simulation.mistakes.project import Mistakes
from claude.simulation.placeholders import write_placeholders
from claude.simulation.random_plan import write_random_file
from claude.simulation.sample_projects import Designer, FilesByTask, find_sample
from core.paths import EVERYTHING, is_owned
from core.plan import promised_contracts
from core.simulation_notice import is_random_plan

MAX_WRITES_PER_TURN = 3
_MAX_CONTRACTS_READ = 2
_MOST_LOOKS = 50
_REPAIR = re.compile(r"repair-([0-9]{1,4})")


class SimulatedModel:
    """Plans and writes what `designer` gives; a task that is in no project gets placeholders."""

    def __init__(self, seed: int, chances: Mapping[str, float], designer: Designer) -> None:
        self._designer, self._seed = designer, seed
        self._misbehaviour = Misbehaviour(chances, seed)
        self._mistakes = Mistakes(chances, seed)

    def answer(self, request: Mapping[str, Any]) -> tuple[Conversation, Answer]:
        """The answer to a valid request, and the conversation it belongs to."""
        talk = read_conversation(request)
        if talk.role == "other":
            answer = Answer((Part("This is a simulated reply; no model was asked."),))
        elif self._misbehaviour.refuses(talk):
            answer = REFUSAL
        elif talk.role == "planner":
            answer = self._plan(talk)
        else:
            answer = self._execute(talk, request["max_tokens"])
        return talk, answer.limited(request["max_tokens"])

    def _plan(self, talk: Conversation) -> Answer:
        if talk.turn == 0 and "list_files" in talk.tools:
            return tool_answer(tool_part("list_files", {}))
        if talk.existing:
            designed = plan_change(talk.listed, "".join(talk.failing))
        else:
            designed = self._mistakes.of_plan(self._designer.plan(talk.prompt))
        plan, is_cut = designed.model_dump(mode="json"), False
        if "tasks" in talk.plan_keys or not talk.plan_keys:
            plan, is_cut = self._misbehaviour.spoil_plan(plan, talk)
        shown = {k: v for k, v in plan.items() if k in talk.plan_keys or not talk.plan_keys}
        tool = "submit_plan" if "submit_plan" in talk.tools else ""
        part = Part(json.dumps(shown, ensure_ascii=False), tool)
        if is_cut:
            return Answer((part.cut(len(part.text) * 2 // 3),), "max_tokens")
        limitable = not is_random_plan(designed.title)
        return Answer((part,), "tool_use" if tool else "end_turn", limitable)

    def _execute(self, talk: Conversation, max_tokens: int) -> Answer:
        project = self._designer.files(talk.plan_title, talk.plan_contracts)
        answer = _next_step(talk, self._spoiled(talk, project), max_tokens)
        theirs = {path for task in project.keys() - {talk.task_id} for path in project[task]}
        others = sorted({*theirs, *talk.contracts, *talk.plan_contracts} - set(talk.owns))
        answer = self._misbehaviour.spoil_turn(answer, talk, others) or answer
        return to_cli(answer, talk.workspace) if talk.workspace else answer

    def _spoiled(self, talk: Conversation, project: FilesByTask) -> Mapping[str, str]:
        """The files that the task writes, with the mistakes in them, or against these."""
        repair = _REPAIR.fullmatch(talk.task_id)
        sample = find_sample(talk.plan_title, talk.plan_contracts)
        if sample is None and (repair or talk.owns == (EVERYTHING,)):
            sample = find_sample(self._designer.plan(talk.prompt).title)
        if sample and repair:
            return self._mistakes.repair(sample, talk.owns, int(repair[1]), talk.failing)
        mistakes = self._mistakes.of_files(sample)
        return {p: mistakes.get(p, text) for p, text in self._files_of(talk, project).items()}

    def _files_of(self, talk: Conversation, project: FilesByTask) -> Mapping[str, str]:
        """The files that the task has to write. A plan that a person edited may use an id of the
        project's for other paths: these are placeholders."""
        if talk.existing:
            return write_changes(talk.task_id, talk.owns, talk.listed)
        if talk.owns == (EVERYTHING,):
            return self._whole(talk.prompt)
        if is_random_plan(talk.plan_title):
            files = write_random_file(self._seed, talk.task_id)
        else:
            files = project.get(talk.task_id, {})
        used = {entry for entry in talk.owns if any(is_owned((entry,), path) for path in files)}
        if files and used == set(talk.owns) and all(is_owned(talk.owns, path) for path in files):
            return files
        return write_placeholders(talk.task_id, talk.owns)

    def _whole(self, prompt: str) -> Mapping[str, str]:
        """Every file that the prompt asks for, for an executor that works alone."""
        plan = self._designer.plan(prompt)
        contracts = {contract.path: contract.content for contract in plan.contracts}
        if is_random_plan(plan.title):
            tasks = [write_random_file(self._seed, task.id) for task in plan.tasks]
        else:
            tasks = [*self._designer.files(plan.title, promised_contracts(plan)).values()]
        return contracts | {path: text for files in tasks for path, text in files.items()}


def _next_step(talk: Conversation, files: Mapping[str, str], max_tokens: int) -> Answer:
    """Look around, write what is missing, a few files a turn, then submit."""
    if talk.turn == 0 and (looks := _looks(talk)):
        return tool_answer(Part(f"Simulated: looking around for {talk.task_id}."), *looks)
    if talk.unwanted:
        return tool_answer(tool_part(RUN, {"command": remove_command(talk.unwanted)}))
    if writes := _writes(talk, files, max_tokens):
        return tool_answer(*writes)
    if talk.checks and {RUN, "submit_result"} <= talk.tools and not talk.tried:
        return tool_answer(tool_part(RUN, {"command": check_command(files)}))
    summary = f"Simulated: wrote {', '.join(files)}."
    if "submit_result" not in talk.tools:
        return Answer((Part(summary),))
    return tool_answer(tool_part("submit_result", {"summary": summary}))


def check_command(files: Iterable[str]) -> str:
    """Reads the files, and the Python among them as Python; changes nothing."""
    script = (
        "import ast, sys; [ast.parse(open(p, encoding='utf-8').read(), p)"
        " for p in sys.argv[1:] if p.endswith('.py')]"
    )
    return shlex.join(["python3", "-c", script, *files])


def _looks(talk: Conversation) -> list[Part]:
    if talk.existing:
        owned = [path for path in talk.owns if not path.endswith("/")]
        return [tool_part("read_file", {"path": path, "limit": 1}) for path in owned[:_MOST_LOOKS]]
    looks = [tool_part("list_files", {})] if "list_files" in talk.tools else []
    if "read_file" in talk.tools:
        looks += [tool_part("read_file", {"path": p}) for p in talk.contracts[:_MAX_CONTRACTS_READ]]
    return looks


def _writes(talk: Conversation, files: Mapping[str, str], max_tokens: int) -> list[Part]:
    """Write the next files, and go on with those that were cut."""
    done, writes = dict(talk.files), list[Part]()
    for path, content in files.items():
        before = done.get(path, "")
        begun = path in done and _begins(content, before)
        if begun and len(before) == len(content):
            continue
        is_there = path in talk.listed and talk.existing and path not in done
        appends = ((begun and before) or is_there) and "append_file" in talk.tools
        tool, rest = ("append_file", content[len(before) :]) if appends else ("write_file", content)
        part = tool_part(tool, {"path": path, "content": rest})
        total = sum(p.tokens for p in [*writes, part])
        if len(writes) == MAX_WRITES_PER_TURN or (writes and total > max_tokens):
            break
        writes.append(part)
    return writes


def _begins(content: str, before: str) -> bool:
    """Whether `before`, as far as the conversation still shows it, is how `content` begins."""
    if DROPPED not in before:
        return content.startswith(before)
    pairs = zip(content, before, strict=False)
    return len(before) <= len(content) and all(b in (c, DROPPED) for c, b in pairs)
