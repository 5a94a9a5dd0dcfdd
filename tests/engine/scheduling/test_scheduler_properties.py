"""What holds for every plan, every failure and every order of events."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SubmitError
from core.events import Event, Kind
from core.job import JobKey, JobState, JobStatus, Outcome, Reason, TaskState
from core.plan import Plan
from engine.scheduling.calls import Calls
from engine.scheduling.retry_policy import RULES
from engine.scheduling.types import StopCause
from engine.scheduling.virtual_backend import VirtualCalls, VirtualEnd
from tests.fakes.events import data_of
from tests.fakes.plans import descendants, plans
from tests.fakes.virtual_run import (
    PACING,
    RUN,
    Faults,
    FaultyBackend,
    PromptBackend,
    SlowCalls,
    Window,
    World,
)

STOPS = frozenset({Outcome.AUTH, Outcome.BILLING, Outcome.BUDGET})
MAX_ATTEMPTS = 3
LAST_FAULT_S = 1500.0

seconds = st.integers(0, 200).map(float)
outcomes = st.sampled_from(
    [None, *([Outcome.OK] * 6), *(o for o in Outcome if o not in STOPS and o is not Outcome.OK)]
)
statuses = st.one_of(
    st.just(JobStatus(JobState.SUCCEEDED)),
    st.builds(
        JobStatus,
        st.sampled_from([JobState.FAILED, JobState.LOST, JobState.CANCELLED]),
        st.none() | st.sampled_from([r for r in Reason if r is not Reason.OUTDATED]),
        st.none() | st.integers(0, 255),
        st.sampled_from(["", "its words"]),
    ),
)
refusals = st.booleans().map(lambda again: SubmitError("Refused.", retryable=again))
ends = st.one_of(
    st.builds(VirtualEnd, duration_s=seconds, queued_s=st.integers(0, 50).map(float)),
    st.builds(VirtualEnd, seconds, statuses, outcomes, ignores_cancel=st.booleans()),
    st.builds(VirtualEnd, refused=refusals),
    st.builds(VirtualEnd, duration_s=st.just(1e7), ignores_cancel=st.booleans()),
)


@st.composite
def windows(draw: st.DrawFn, kinds: tuple[str, ...], longest_s: int, tasks: list[str]) -> Window:
    begin = draw(st.integers(0, int(LAST_FAULT_S) - longest_s))
    length = draw(st.integers(1, longest_s))
    return Window(draw(st.sampled_from(kinds)), begin, begin + length, draw(st.sampled_from(tasks)))


@st.composite
def faults(draw: st.DrawFn, plan: Plan) -> Faults:
    tasks = [t.id for t in plan.tasks]
    methods = ("submit", "poll", "collect", "cancel", "reattach")
    return Faults(
        outages=tuple(draw(st.lists(windows(methods, 200, tasks), max_size=3))),
        answers_lost=draw(st.booleans()),
        disguises=tuple(
            draw(st.lists(windows(("UNKNOWN", "QUEUED", "MISSING"), 100, tasks), max_size=4))
        ),
        late_s=draw(st.sampled_from([0.0, 0.0, 5.0, 19.0])),
        silent=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    plan = draw(plans(max_tasks=6))
    scripts = {t.id: draw(st.lists(ends, min_size=1, max_size=MAX_ATTEMPTS)) for t in plan.tasks}

    def script(key: JobKey) -> VirtualEnd:
        own = scripts[key.task]
        return own[key.attempt - 1] if key.attempt <= len(own) else VirtualEnd()

    return World(
        plan,
        script,
        draw(faults(plan)),
        replace(PACING, max_executors=draw(st.integers(1, 4)), progress_s=draw(paces)),
        max_attempts=draw(st.integers(1, MAX_ATTEMPTS)),
        backend_type=draw(st.sampled_from([FaultyBackend, PromptBackend])),
    )


paces = st.sampled_from([None, None, 20.0])


@st.composite
def calls_for(draw: st.DrawFn, world: World) -> Calls:
    """Calls that answer at once, or take up to ten seconds on either side of their work."""
    if draw(st.booleans()):
        return VirtualCalls(world.clock)
    delays = draw(st.lists(st.tuples(delay, delay), min_size=1, max_size=7))
    turn = iter(range(10**9))
    return SlowCalls(world.clock, lambda method: delays[next(turn) % len(delays)])


delay = st.sampled_from([0.0, 0.5, 10.0])


def longest_s(world: World) -> float:
    """More than any run may take: all attempts one after the other, each with every grace."""
    attempt_s = 50 + 330 + 30 + 2 * 20 + 300 + 200
    return LAST_FAULT_S + attempt_s * MAX_ATTEMPTS * len(world.plan.tasks)


def check_rules(world: World) -> None:
    """What must hold of a timeline at any time, whatever happened."""
    needs = {t.id: set(t.depends_on) for t in world.plan.tasks}
    succeeded: set[str] = set()
    handed_over: set[JobKey] = set()
    for entry in world.timeline:
        if not isinstance(entry, Event):
            assert not set(entry[1]) & handed_over, "a known job was submitted again"
            assert len(set(entry[1])) == len(entry[1])
            continue
        key = JobKey(RUN, entry.task, entry.attempt)
        if entry.kind is Kind.JOB_INTENDED:
            assert needs[entry.task] <= succeeded, "a task started before its dependencies"
            assert entry.task not in succeeded, "a finished task was started again"
        elif entry.kind in (Kind.JOB_SUBMITTED, Kind.JOB_ENDED):
            handed_over.add(key)
        elif entry.kind is Kind.TASK_ENDED and data_of(entry)["state"] == "SUCCEEDED":
            succeeded.add(entry.task)
    assert len(world.backend.inner.started) == len(set(world.backend.inner.started))


@settings(max_examples=180)
@given(world=worlds(), data=st.data())
def test_every_run_ends_with_every_task_in_one_final_state_by_the_rules(
    world: World, data: st.DataObject
) -> None:
    outcome = world.run(data.draw(calls_for(world)))

    assert world.clock.monotonic() <= longest_s(world)
    if outcome.stop is not None:
        assert outcome.stop.cause is StopCause.LAUNCH, "no worker could start"
        return
    told = world.final_states()
    assert told == {name: [state] for name, state in outcome.states.items()}
    failed = {n for n, state in outcome.states.items() if state is TaskState.FAILED}
    blocked = {n for n, state in outcome.states.items() if state is TaskState.BLOCKED}
    assert blocked == descendants(world.plan, failed)
    assert TaskState.CANCELLED not in outcome.states.values()
    assert set(outcome.succeeded) == set(outcome.states) - failed - blocked
    assert set(outcome.messages) == failed | blocked
    assert world.most_at_once() <= world.pacing.max_executors
    check_rules(world)
    check_tries(world)


def check_tries(world: World) -> None:
    causes: dict[str, list[str]] = {t.id: [] for t in world.plan.tasks}
    for event in world.events(Kind.JOB_ENDED):
        causes[event.task].append(data_of(event)["cause"])
    for task, found in causes.items():
        assert len(found) <= world.max_attempts
        assert found.count("OK") <= 1
        assert "OK" not in found[:-1], "a task went on after its success"
        for number, cause in enumerate(found[:-1], 1):
            assert number < (RULES[cause].tries or world.max_attempts), f"{task}: {found}"


@settings(max_examples=60)
@given(world=worlds(), stop=st.sampled_from(sorted(STOPS)), data=st.data())
def test_a_stop_for_credentials_or_money_launches_nothing_more_and_can_be_resumed(
    world: World, stop: Outcome, data: st.DataObject
) -> None:
    refused = data.draw(st.sampled_from([t.id for t in world.plan.tasks]))
    plain, broken = world.script, VirtualEnd(5.0, outcome=stop)

    def script(key: JobKey) -> VirtualEnd:
        early = world.clock.monotonic() < LAST_FAULT_S
        return broken if key.task == refused and early else plain(key)

    world = replace(world, script=script, timeline=[], journal=[])
    outcome = world.run(data.draw(calls_for(world)))
    check_rules(world)
    if outcome.stop is None or outcome.stop.cause is StopCause.LAUNCH:
        return  # the task was blocked, or lost its result on the way, or no worker could start
    assert outcome.stop.cause is StopCause(stop)
    ended = next(
        n
        for n, e in enumerate(world.timeline)
        if isinstance(e, Event) and data_of(e).get("cause") == stop
    )
    after = [e for e in world.timeline[ended:] if isinstance(e, Event)]
    assert not [e for e in after if e.kind is Kind.JOB_INTENDED]
    assert world.final_states() == {n: [state] for n, state in outcome.states.items()}
    assert outcome.states[refused] is TaskState.CANCELLED

    world.clock.sleep(max(0.0, LAST_FAULT_S - world.clock.monotonic()))
    mark = len(world.timeline)
    again = world.run(data.draw(calls_for(world)))
    assert again.stop is None or again.stop.cause is StopCause.LAUNCH
    assert set(again.succeeded) >= set(outcome.succeeded)
    unfinished = set(outcome.states) - set(outcome.succeeded)
    told = world.final_states(mark)
    assert {n for n, states in told.items() if states} == unfinished
    check_rules(world)
