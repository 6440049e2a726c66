"""What a workflow's author can get wrong is told by name, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
import weakref
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from perdure import App, Context, Retry, StepFailed, Workflow, WorkflowFailed
from perdure.core.errors import InvalidOption, WaitTimeout
from perdure.core.run_errors import InvalidWorkflow, WorkflowNotFound
from perdure.fleet.loops import monitor
from perdure.workflows.fitting import check_call
from perdure.workflows.reading import work_of
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage


def test_a_workflow_that_isn_t_one_is_refused_where_it_is_declared() -> None:
    """A plain function, one that takes no handle, and a version declared twice are refused at the declaration, by name
    [DW-206]. Red when a plain function is taken: it would block the loop."""
    app = App("shop")

    def plain(wf: Workflow) -> None: ...

    async def bare(order: int) -> None: ...

    async def fine(wf: Workflow) -> None: ...

    for function, told in ((plain, "async"), (bare, "handle")):
        with pytest.raises(InvalidWorkflow, match=told) as refused:
            app.workflow(function)  # type: ignore[arg-type]
        assert refused.value.field == function.__name__
        assert refused.value.fix
    app.workflow(fine)
    with pytest.raises(Exception, match="fine"):
        app.workflow(fine)


def test_code_that_blocks_the_loop_is_named(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A workflow's own code that keeps the loop is named with where it had come to; a step that does is found by the
    watchman of ``perdure dev``, with its line. The runs end as if nothing had been. Red without the measuring of a
    turn, and without the watchman's own thread."""

    def told(logger: str, text: str) -> bool:
        return any(text in each.getMessage() for each in list(caplog.records) if each.name == logger)

    async def blocks() -> int:
        bound = time.monotonic() + BOUND_SECONDS
        while not told("perdure.loop", "in blocks") and time.monotonic() < bound:
            time.sleep(0.01)
        return 1

    @stage.app.workflow
    async def slow(wf: Workflow) -> int:
        time.sleep(0.3)
        await wf.step("one", stage.do, 1)  # the loop goes round while that is recorded
        return await wf.step("blocks", blocks)

    async def play() -> None:
        monitor.watch(0.2)
        async with stage.working():
            assert await stage.run(slow.run()) == 1

    asyncio.run(play())
    assert told("perdure.workflows", "the code of slow kept the event loop")
    assert told("perdure.workflows", "s before one: do what blocks in a step")
    assert told("perdure.loop", "in blocks")


@pytest.mark.parametrize("how", ["timeout", "wait_for", "cancel"])
def test_a_run_that_bounds_a_step_by_the_clock_of_its_process_is_parked(stage: Stage, how: str) -> None:
    """Code between steps that says ``asyncio.timeout`` or ``asyncio.wait_for`` about one, or cancels its task, is told
    which way there is, before the step is begun; the run is parked, has tried nothing, and goes on with mended code. In
    a step's own function all of that is fine. Red when the task that drives the run is what they cancel: then the step
    is tried again and again."""
    mended = False

    async def bounded() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        return "in time"

    @stage.app.workflow
    async def hasty(wf: Workflow) -> str:
        if mended:
            return await wf.step("slow", bounded)
        if how == "wait_for":
            return await asyncio.wait_for(wf.step("slow", bounded), 0.05)
        if how == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        async with asyncio.timeout(0.05):
            return await wf.step("slow", bounded)

    async def play() -> None:
        nonlocal mended
        async with stage.working():
            await stage.start(hasty.run())
            told = str((await stage.until_state("parked")).error)
            assert "timeout=" in told or (how == "wait_for" and "do it in a step" in told)
            assert await stage.timeline() == {}
            mended = True
            await stage.ask(stage.client.workflows.resume, "r")
            assert await stage.result() == "in time"

    asyncio.run(play())


def test_a_signal_to_nobody_and_a_result_of_no_form_are_told(stage: Stage) -> None:
    """A signal to a run that never was is an error of its own, and keeps nothing; a step whose result has no JSON form
    fails by name, with its effect done once [DW-198, DW-207]."""

    @stage.app.workflow
    async def odd(wf: Workflow) -> str:
        try:
            await wf.step("odd", stage.do_sync, object())
        except StepFailed as failed:
            return failed.kind
        return ""

    async def play() -> None:
        with pytest.raises(WorkflowNotFound):
            await stage.signal("paid", 1, id="nobody")
        async with stage.working():
            assert await stage.run(odd.run()) in ("Unserialisable", "InvalidArgument")

    asyncio.run(play())
    assert len(stage.did) == 1
    assert stage.value("select count(*) from perdure.signal") == 0


async def _one(a: int) -> None: ...


async def _two(a: int, b: int) -> None: ...


@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda wf, stage: wf.signal("go", timeout=-1), "timeout"),
        (lambda wf, stage: wf.step("", stage.do, 1), "name"),
        (lambda wf, stage: wf.step(["a"], stage.do, 1), "name"),
        (
            lambda wf, stage: wf.step("a", _two, 1),
            "a: its step, _two(a, b), can't be called with what it is given: missing",
        ),
        (
            lambda wf, stage: wf.step("a", _two, 1, 2, retries=3),
            "a: retries: is neither an option of a step nor an arg",
        ),
        (lambda wf, stage: wf.step("a", _two, 1, 2, compensate=_one), "a: its compensation, _one(a), can't be called"),
        (
            lambda wf, stage: wf.transaction("a", _two, 1, 2),
            "a: its transaction, _two(a, b), can't be called with what",
        ),
        (lambda wf, stage: wf.transaction("pay", stage.do_sync, 1), "async def"),
        (lambda wf, stage: wf.set(size=object()), "attributes.size"),
        (lambda wf, stage: wf.child(stage.app.workflows["shop/1"], "c", 1), "shop takes ()"),
        (lambda wf, stage: wf.gather(on_failure="undo"), "give keep or compensate"),
        (lambda wf, stage: wf.transaction("pay"), "use it in an async with, or give it a function"),
        (lambda wf, stage: wf.transaction("pay", _one).__aenter__(), "pay: has its function; await it"),
        (lambda wf, stage: wf.gather(quorum=2).__aexit__(None, None, None), "asks for 2 successes of 0"),
    ],
)
def test_options_that_can_t_be_park_the_run_and_undo_nothing(
    stage: Stage, wrong: Any, told: str, swallowed: bool
) -> None:
    """An option, a name, an argument or an attribute that can't be, and a plain function for a transaction, are
    mistakes of the code, which may catch the error and go on: the run is parked with the sentence, whoever waits for
    it is told, nothing is compensated, and it goes on when the code is mended. Red when they fail the run, or pass for
    something else that was meant."""
    broken = [True]

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("first", stage.do, "first", compensate=stage.do)
        if broken:
            with suppress(Exception) if swallowed else nullcontext():
                await wrong(wf, stage)
        return "mended"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            assert told in str((await stage.until_state("parked")).error)
            with pytest.raises(WaitTimeout, match=r"is parked: .*; let a worker with code that fits it run"):
                await stage.ask(stage.client.workflows.wait, "r", timeout=0.1)
            broken.clear()
            await stage.ask(stage.client.workflows.resume, "r")
            assert await stage.result() == "mended"

    asyncio.run(play())
    assert stage.did == ["first"]


@pytest.mark.parametrize("context", [False, True])
def test_what_is_recorded_may_have_been_called_otherwise(stage: Stage, context: bool) -> None:
    """A step that is recorded is read, whatever its function takes by now; a compensation that can't be called with
    what its step was given, also one that wants a context, parks the run where it is due, is tried by nobody, and is
    done when it is mended. Red when recorded steps are checked, and when only new ones are."""
    grown, undone = [False], list[int]()

    async def old(a: int) -> None: ...

    async def new(a: int, b: int) -> None: ...

    async def old_back(a: int) -> None:
        undone.append(a)

    async def new_back(a: int, b: int) -> None: ...

    async def new_back_as(a: int, ctx: Context, b: int) -> None: ...

    new_back_as.__name__ = "new_back"
    old.__qualname__ = new.__qualname__ = "function"

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        back = new_back_as if context else new_back
        await wf.step("a", new if grown[0] else old, 1, compensate=back if grown[0] else old_back)
        await wf.signal("go")
        raise ValueError("no")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            grown[0] = True
            await stage.signal("go")
            told = str((await stage.until_state("parked")).error)
            assert "undo a: its compensation, new_back(a, b), can't be called" in told
            assert list(await stage.timeline()) == ["a", "signal go"]
            grown[0] = False
            await stage.ask(stage.client.workflows.resume, "r")
            await stage.until_state("compensated")

    asyncio.run(play())
    assert undone == [1]


class Holder:
    """What can be called, in other ways than a plain function."""

    def method(self, a: int) -> None: ...

    def __call__(self, a: int) -> None: ...


def _wraps(inner: Any) -> Any:
    return functools.wraps(inner)(lambda *args, **kwargs: inner(None, *args, **kwargs))


async def _named(a: int, *, b: int, c: int = 0) -> None: ...


async def _asks(a: int, ctx: Context, b: int = 0) -> None: ...


async def _may_ask(a: int, ctx: Context | None = None) -> None: ...


@pytest.mark.parametrize(
    ("function", "context", "args", "kwargs", "fits"),
    [
        (_two, None, (1, 2), {}, True),
        (_two, None, (1,), {"b": 2}, True),
        (_two, None, (1, 2, 3), {}, False),
        (_two, None, (1, 2), {"b": 3}, False),
        (partial(_two, 1), None, (2,), {}, True),
        (partial(_two, b=1), None, (2,), {}, True),
        (partial(_two, 1), None, (), {}, False),
        (Holder().method, None, (1,), {}, True),
        (Holder().method, None, (), {}, False),
        (Holder(), None, (1,), {}, True),
        (Holder(), None, (1, 2), {}, False),
        (App("x").task(_two), None, (1,), {}, False),
        (lambda *args, **kwargs: None, None, (1, 2, 3), {"x": 1}, True),
        (lambda a=1, *args: None, None, (), {}, True),
        (_wraps(_two), None, (1,), {}, True),
        (_named, None, (1,), {"b": 1}, True),
        (_named, None, (1,), {}, False),
        (_asks, "ctx", (1,), {}, True),
        (_asks, "ctx", (1, 2), {}, True),
        (_asks, "ctx", (1,), {"b": 2}, True),
        (_asks, "ctx", (1, 2, 3), {}, False),
        (_asks, "ctx", (), {}, False),
        (_may_ask, "ctx", (), {}, False),
        (_may_ask, "ctx", (1,), {"ctx": None}, True),
        (dict, None, (), {"anything": 1}, True),
        (max, None, (1, 2, 3), {}, True),
        (Mock(), None, (1,), {"a": 2}, True),
    ],
)
def test_what_can_be_called_is_called(
    function: Any, context: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], fits: bool
) -> None:
    """Functions, tasks, partials, methods, objects and wrappers are held to what they themselves take, without the
    context that the worker fills in; what doesn't say what it takes is called. Each asked twice, from the code and from
    what is remembered. Red when one that fits is refused, and when one that doesn't isn't."""
    for _ in range(2):
        with nullcontext() if fits else pytest.raises(InvalidWorkflow, match="s: "):
            check_call("s", function, args, kwargs, context=context)


def test_an_update_of_a_paused_run_is_told_what_it_waits_for(stage: Stage) -> None:
    """An update that a paused run can't answer gives up with the advice to resume it [DW-196]. Red when the advice is
    about workers."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            await stage.ask(stage.client.workflows.pause, "r")
            with pytest.raises(WaitTimeout, match="is paused") as late:
                await stage.ask(stage.client.workflows.update, "r", "go", 1, timeout=0.2)
        assert "resume" in str(late.value.fix)

    asyncio.run(play())


def test_what_a_run_s_functions_hold_is_let_go() -> None:
    """A function made for one run isn't kept after its step, nor what it holds: a parked run costs no memory.
    Red when every function is cached."""

    class Held: ...

    def step_of(held: Held) -> Any:
        return lambda: held

    held = Held()
    seen = weakref.ref(held)
    assert work_of(step_of(held), "step").run_in == "thread"
    assert work_of(test_a_signal_to_nobody_and_a_result_of_no_form_are_told, "s") is work_of(
        test_a_signal_to_nobody_and_a_result_of_no_form_are_told, "s"
    )
    del held
    gc.collect()
    assert seen() is None


def test_a_run_that_begins_anew_with_what_it_doesn_t_take_is_parked(stage: Stage) -> None:
    """Arguments that the workflow doesn't take are a mistake of the code that continues with them: the run is parked
    and keeps what it has recorded; runs that aren't given in pairs are refused before any is started. Red when the run
    has failed, and when what can't be unpacked is Python's own error."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        await wf.step("first", stage.do, "first")
        return wf.continue_as_new(nothing=1)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            assert "nothing: is not an argument" in str((await stage.until_state("parked")).error)
            assert set(await stage.timeline()) == {"first"}

    asyncio.run(play())
    with pytest.raises(InvalidOption, match="give pairs"):
        stage.client.workflows.start_many([shop.run()])  # type: ignore[list-item]


def test_the_gist_of_a_refused_statement_is_what_postgres_said(stage: Stage) -> None:
    """Whoever waits for a run whose statement Postgres refused is told what it said, and not where its mark stood. Red
    when the last line of the error is taken whatever it be."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.transaction("pay", retry=Retry(max_attempts=1)) as tx:
            await tx.connection.execute("select nonsense")

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed, match='column "nonsense" does not exist'):
                await stage.run(shop.run())

    asyncio.run(play())
