"""What happens in a run, as spans: run, plan, tasks, attempts, requests to the model, and checks.

Names are those of the GenAI semantic conventions of OpenTelemetry, of which every session of a run
is one `invoke_workflow`. Times are those of the events and of the transcripts. Attributes hold no
prompt, no answer, no command and no path.
"""

from collections.abc import Callable, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from core.bundle import AttemptDir
from core.events import (
    CheckEnded,
    Event,
    JobEnded,
    JobIntended,
    PlanReady,
    Progress,
    Proof,
    RunEnded,
    RunStarted,
    TaskEnded,
)
from core.job import JobKey, Outcome, TaskState, Usage
from engine.telemetry.sender import SERVICE, RunIds
from engine.telemetry.turns import Turn, read_turns

PROVIDERS = {"bedrock": "aws.bedrock"}
"""Names of the conventions, where ours are others."""
Attributes = Mapping[str, str | int | bool | tuple[str, ...]]


class RunSpans:
    """Give it the events of earlier sessions first. What they ended before `since`, in Unix time,
    was sent by them; what they left open, since they were killed, is sent now."""

    def __init__(
        self,
        tracer: Tracer,
        ids: RunIds,
        find_attempt: Callable[[JobKey], AttemptDir],
        since: float,
    ) -> None:
        self._tracer, self._ids, self._find_attempt = tracer, ids, find_attempt
        self._since = since
        self._sessions = 0
        self._header = RunStarted()
        self._last_at = self._plan_end_at = 0.0
        self._run: Span | None = None
        self._plan: Span | None = None
        self._tasks: dict[str, Span] = {}
        self._attempts: dict[JobKey, Span] = {}
        self._intended: dict[JobKey, float] = {}
        """When each attempt began that has not ended, in whatever session."""
        self._requests = self._checks = 0

    def emit(self, event: Event) -> None:
        if isinstance(event.data, RunStarted):
            self._run_started(event.at, event.data)
        elif self._run is not None:
            self._in_session(event, self._run)
        self._last_at = event.at

    def _in_session(self, event: Event, run: Span) -> None:
        key = JobKey(self._header.run, event.task, event.attempt)
        match event.data:
            case Progress(usage=usage) if usage is not None and not event.task:
                self._planning_request(event.at, usage, run)
            case PlanReady(tasks=tasks):
                self._plan_end_at = event.at
                if self._plan is not None:
                    self._plan.set_attribute("parallel_orchestrator.plan.tasks", len(tasks))
            case JobIntended():
                self._intended[key] = event.at
                self._attempt(key, event.at, run)
            case JobEnded() as data:
                self._job_ended(key, event.at, data, run)
            case TaskEnded(state) if event.task in self._tasks:
                error = "" if state is TaskState.SUCCEEDED else str(state)
                self._end(self._tasks.pop(event.task), event.at, error)
            case CheckEnded() as data:
                self._check_ended(event.at, data, run)
            case RunEnded() as data:
                run.set_attribute("parallel_orchestrator.run.exit_code", data.exit_code)
                run.set_attribute("parallel_orchestrator.run.outcome", data.outcome)
                self._end_all(event.at, data.outcome if data.exit_code else "")

    def _run_started(self, at: float, data: RunStarted) -> None:
        self._end_all(self._last_at, "killed", is_lost=True)
        self._ids.run, self._header = data.run, data
        self._sessions, self._plan_end_at = self._sessions + 1, at
        self._requests = self._checks = 0
        self._run = self._begin(
            f"invoke_workflow {SERVICE}",
            "run",
            at,
            None,
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": SERVICE,
                "parallel_orchestrator.run.id": data.run,
                "parallel_orchestrator.run.session": self._sessions,
                "parallel_orchestrator.backend": data.backend,
                "parallel_orchestrator.simulated": data.simulated,
            },
        )
        if data.planning is not None:
            named = {"gen_ai.operation.name": "plan", "gen_ai.agent.name": "planner"}
            self._plan = self._begin("plan planner", "plan", at, self._run, named)

    def _planning_request(self, at: float, usage: Usage, run: Span) -> None:
        self._plan_end_at, self._requests = at, self._requests + 1
        turn = Turn(at - usage.duration_s, usage)
        self._request(turn, f"plan {self._requests}", self._plan or run)

    def _attempt(self, key: JobKey, at: float, run: Span) -> Span:
        """The open span of an attempt, in that of its task."""
        about: Attributes = {"parallel_orchestrator.task.id": key.task}
        if (task := self._tasks.get(key.task)) is None:
            task = self._begin(f"task {key.task}", f"task {key.task} {at}", at, run, about)
            self._tasks[key.task] = task
        self._attempts[key] = self._begin(
            "invoke_agent executor",
            f"attempt {key}",
            at,
            task,
            {
                **about,
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "executor",
                "gen_ai.request.model": self._header.model,
                "parallel_orchestrator.attempt": key.attempt,
            },
        )
        return self._attempts[key]

    def _job_ended(self, key: JobKey, at: float, data: JobEnded, run: Span) -> None:
        began_at = self._intended.pop(key, at)
        # one that an earlier session has left running has no span in this one yet
        span = self._attempts.get(key) or self._attempt(key, began_at, run)
        del self._attempts[key]
        for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
            span.set_attribute(name, sum(usage_attributes(each)[name] for each in data.usage))
        if data.usage:
            span.set_attribute("gen_ai.provider.name", provider_name(data.usage[0]))
        if at >= self._since:
            for number, turn in enumerate(read_turns(self._find_attempt(key)), 1):
                self._request(turn, f"turn {key} {number}", span)
        self._end(span, at, "" if data.cause == Outcome.OK else data.cause)

    def _request(self, turn: Turn, subject: str, parent: Span) -> None:
        usage = turn.usage
        span = self._begin(
            f"chat {usage.model}",
            subject,
            turn.began_at,
            parent,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider_name(usage),
                "gen_ai.request.model": usage.model,
                "gen_ai.request.stream": True,
                **({"gen_ai.response.finish_reasons": (turn.stop,)} if turn.stop else {}),
                **usage_attributes(usage),
            },
            SpanKind.CLIENT,
        )
        self._end(span, turn.began_at + usage.duration_s)

    def _check_ended(self, at: float, data: CheckEnded, run: Span) -> None:
        self._checks += 1
        about: Attributes = {
            "parallel_orchestrator.check.phase": data.phase,
            "parallel_orchestrator.check.state": str(data.state),
            "parallel_orchestrator.check.tasks": data.tasks,
        }
        begun_at = at - data.seconds
        span = self._begin(f"check {data.phase}", f"check {self._checks}", begun_at, run, about)
        self._end(span, at, str(data.state) if data.state is Proof.FAILED else "")

    def _end_all(self, at: float, error: str, *, is_lost: bool = False) -> None:
        """The end of a session, which jobs may outlive; `is_lost`: nobody has sent these yet."""
        for span in (*self._attempts.values(), *self._tasks.values()):
            self._end(span, at, error or "left running", is_lost=is_lost)
        if self._plan is not None:
            self._end(self._plan, self._plan_end_at, is_lost=is_lost)
        if self._run is not None:
            self._end(self._run, at, error, is_lost=is_lost)
        self._attempts, self._tasks = {}, {}
        self._plan = self._run = None

    def _begin(
        self,
        name: str,
        subject: str,
        at: float,
        parent: Span | None,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        """`subject` is what the span is about, and no other of this session."""
        self._ids.subject = f"{self._sessions} {subject}"
        context = Context() if parent is None else set_span_in_context(parent, Context())
        return self._tracer.start_span(name, context, kind, attributes, start_time=_ns(at))

    def _end(self, span: Span, at: float, error: str = "", *, is_lost: bool = False) -> None:
        if at < self._since and not is_lost:
            return
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_ns(at))


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Input counts what was read from and written to the cache."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens + cached,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
    }


def provider_name(usage: Usage) -> str:
    return PROVIDERS.get(usage.provider, usage.provider)


def _ns(at: float) -> int:
    return int(at * 1e9)
