"""The ways in which a model misbehaves, as --sim-faults asks for them: drawn from the seed and the
place in the conversation, never from the number of the retry."""

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claude.simulation import secret_probe
from claude.simulation.answers import Answer, Part, tool_answer, tool_part
from claude.simulation.cli_tools import RUN
from claude.simulation.conversation import Conversation
from claude.simulation.seeded_random import draw, pick

REFUSAL = Answer((Part("Simulated: I can't help with that."),), "refusal")
_ESCAPES = (
    "../escaped.txt",
    "src/../../escaped.txt",
    "/etc/simulated-escape.txt",
    "~/simulated-escape.txt",
    "/proc/self/cwd/../escaped.txt",
)
BROKEN_RULES = ("cycle", "unknown task", "overlap", "criterion", "outside", "contract")
_MIN_CUT_CHARS = 40
_SNOOPING_TURN = 1
_END = "END_OF_SOURCE"


class Misbehaviour:
    """Draws the faults of the model for one seed."""

    def __init__(self, chances: Mapping[str, float], seed: int) -> None:
        self._chances, self._seed = chances, seed

    def happens(self, fault: str, talk: Conversation) -> bool:
        """Whether `fault` is drawn at this point of the conversation."""
        return self._draw(fault, talk) < self._chances.get(fault, 0.0)

    def _draw(self, fault: str, talk: Conversation) -> float:
        return draw(self._seed, "fault", fault, *talk.names)

    def refuses(self, talk: Conversation) -> bool:
        """A request is declined when it is first seen."""
        return talk.turn == 0 and self.happens("refusal", talk)

    def spoil_plan(self, plan: dict[str, Any], talk: Conversation) -> tuple[dict[str, Any], bool]:
        """The plan as it is given, and whether its text is cut; unharmed when nothing is drawn.

        A planner that was told its defects errs less: the chance is squared in the second round,
        cubed in the third, and so on.
        """
        chance = self._chances.get("bad_plan", 0.0) ** (talk.turn + 1)
        if self._draw("bad_plan", talk) >= chance:
            return plan, False
        rule = pick((*BROKEN_RULES, ""), self._seed, "bad_plan", *talk.names)
        bad = copy.deepcopy(plan)
        break_rule(bad, rule)
        return bad, not rule

    def spoil_turn(
        self, answer: Answer, talk: Conversation, others: Sequence[str]
    ) -> Answer | None:
        """What an executor does in place of `answer`, or None when nothing is drawn.

        `others` are paths that belong to other tasks or are contracts.
        """
        if talk.turn == _SNOOPING_TURN and RUN in talk.tools and self.happens("snooping", talk):
            return tool_answer(tool_part(RUN, {"command": probe_command()}))
        strange = {"escape": _ESCAPES, "wrong_files": others or ("not-mine.txt",)}
        for fault, paths in strange.items():
            if self.happens(fault, talk):
                path = pick(paths, self._seed, fault, *talk.names)
                content = f"simulated intrusion of {talk.task_id}, turn {talk.turn}\n"
                return tool_answer(tool_part("write_file", {"path": path, "content": content}))
        if self.happens("bad_tool", talk):
            return self._bad_call(answer, talk)
        if self.happens("truncate", talk):
            return self._truncate(answer, talk)
        return None

    def _bad_call(self, answer: Answer, talk: Conversation) -> Answer:
        other = tool_part("write_file", {"path": "x"})
        call = next((part for part in answer.parts if part.tool), other)
        bad = (
            tool_part("run_shell", {"command": "true"}),
            tool_part("write_file", {"content": f"simulated, without a path, turn {talk.turn}\n"}),
            Part(call.text[:-1] + ', "and then', call.tool),
        )
        return tool_answer(pick(bad, self._seed, "bad_tool", *talk.names))

    def _truncate(self, answer: Answer, talk: Conversation) -> Answer | None:
        for n, part in enumerate(answer.parts):
            if part.tool in ("write_file", "append_file") and len(part.text) > _MIN_CUT_CHARS:
                share = 0.3 + 0.5 * draw(self._seed, "truncate at", *talk.names)
                cut = part.cut(int(len(part.text) * share))
                return Answer((*answer.parts[:n], cut), "max_tokens")
        return None


@functools.cache
def probe_command() -> str:
    """Looks for secrets wherever a command can look."""
    source = Path(secret_probe.__file__).read_text(encoding="utf-8")
    return f"env; exec python3 - <<'{_END}'\n{source}{_END}\n"


def break_rule(plan: dict[str, Any], rule: str) -> None:
    """Change a whole plan so that it breaks one rule of core.plan."""
    first, last = plan["tasks"][0], plan["tasks"][-1]
    match rule:
        case "cycle":
            first["depends_on"] = [last["id"]]
            last["depends_on"] = sorted({*last["depends_on"], first["id"]})
        case "unknown task":
            last["depends_on"].append("no-such-task")
        case "overlap":
            last["owns"].append(first["owns"][0])
        case "criterion":
            plan["acceptance_criteria"][-1]["served_by"] = []
        case "outside":
            first["owns"].append("../escaped.txt")
        case "contract":
            path = first["owns"][0].rstrip("/")
            contract = {"path": path, "purpose": "Simulated mistake", "content": "simulated\n"}
            plan["contracts"].append(contract)
