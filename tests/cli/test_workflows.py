"""``perdure workflows`` and ``perdure timeline``: what a person sees of runs, and does to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perdure import Client
from perdure.cli.program import run
from perdure.workflows.model import Entry, RunSpec
from perdure.workflows.ops.record import record
from tests.conftest import Database

SHOP = """
from perdure import App, Workflow
app = App("shop")
@app.workflow
async def checkout(wf: Workflow) -> None:
    await wf.step("reserve", print, "reserved")
    await wf.signal("shipped")
"""
LONG = "the scale said " + "no and " * 40 + "nothing else"


def test_runs_are_shown_signalled_mended_and_checked(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is listed with what it waits for, its timeline shows steps, inbox and the current blocker, whole
    in a pipe, a signal and a cancel reach it, what has parts is shown as JSON, and a check of new code names the run
    that it wouldn't fit and ends with 1 [DW-208]."""

    def asked(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code, capsys.readouterr().err
        return capsys.readouterr().out

    monkeypatch.setenv("DATABASE_URL", db.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "till.py").write_text(SHOP)
    (tmp_path / "newer.py").write_text(SHOP.replace('"reserve"', '"book"'))
    with Client(db.url) as client:
        spec = RunSpec(name="checkout", version=1, payload="{}")
        job = client.workflows.start(spec, id="checkout:1").job
        with client.transaction() as tx:
            entries = [
                Entry(job, 0, "reserve", 1, "step", "done", 1, 0.0, 1.0, outcome=json.dumps(LONG)),
                Entry(job, 0, "signal shipped", 2, "signal", "waiting", detail="shipped"),
            ]
            tx.workflows._runs.change(record(entries))

    [shown] = json.loads(asked("workflows", "--json"))["runs"]
    assert (shown["id"], shown["state"], shown["waits_for"]) == ("checkout:1", "running", ["signal shipped"])
    assert asked("workflows", "signal", "checkout:1", "shipped", '{"by": "truck"}', "--key", "1") == "sent\n"
    assert (
        asked("workflows", "signal", "checkout:1", "shipped", "1", "--key", "1")
        == "one with this key was sent before\n"
    )
    told = asked("timeline", "checkout:1")
    assert "reserve\tstep\tdone\t1" in told
    assert LONG in told
    assert "signal 'shipped', not taken yet" in told
    assert "waits for signal shipped" in told
    assert "1 of 1 live runs would go on" in asked("workflows", "check", "till:app")
    assert "step 'reserve'" in asked("workflows", "check", "newer:app", code=1)
    assert asked("workflows", "cancel", "checkout:1", "--reason", "no") == "requested\n"
    asked("workflows", "pause", "checkout:1")
    told = asked("workflows", "get", "checkout:1")
    assert "state\tpaused" in told
    assert 'waits for\t["signal shipped"]' in told
    asked("workflows", "resume", "checkout:1")
    asked("workflows", "--stuck")
    asked("workflows", "signal", "nobody", "x", code=1)


def test_a_check_minds_its_own_app_s_runs(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where two apps share a schema, runs of workflows that the checked one doesn't declare are counted apart, by name,
    and fail the check with --all, or when asked for by name; a version that it lacks of one that it has always does.
    Red when the other app's runs fail the check, and when a lacking version doesn't."""

    def asked(*options: str) -> tuple[int, str, str]:
        code = run(["workflows", "check", "till:app", *options])
        return code, *capsys.readouterr()

    monkeypatch.setenv("DATABASE_URL", db.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "till.py").write_text(SHOP)
    with Client(db.url) as client:
        client.workflows.start(RunSpec(name="checkout", version=1, payload="{}"), id="mine")
        client.workflows.start(RunSpec(name="delivery", version=1, payload="{}"), id="theirs")
        code, out, err = asked()
        assert (code, out) == (0, "1 of 1 live runs would go on\n")
        assert "passed over 1 of workflows that till:app doesn't declare (delivery)" in err
        for options in (["--all"], ["--name", "delivery"]):
            code, out, err = asked(*options)
            assert (code, err) == (1, "")
            assert "theirs (delivery, version 1): the app has no workflow delivery" in out
        shown = json.loads(asked("--json")[1])
        assert [(each["id"], each["foreign"]) for each in shown] == [("mine", False), ("theirs", True)]
        client.workflows.start(RunSpec(name="checkout", version=2, payload="{}"), id="newer")
        code, out, _ = asked()
        assert code == 1
        assert "newer (checkout, version 2): the app has no version 2 of checkout" in out


def test_a_list_of_runs_says_what_it_leaves_out(
    db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs are listed by state and by what they say, a page at a time; a page that isn't the last says where the next
    one begins, and so do lists of what is stuck [DW-208]. Red when a list ends without a word."""

    def asked(*arguments: str, code: int = 0) -> tuple[list[str], str]:
        assert run(["workflows", *arguments]) == code
        found = capsys.readouterr()
        return [line.partition("\t")[0] for line in found.out.splitlines()[1:]], found.err

    monkeypatch.setenv("DATABASE_URL", db.url)
    with Client(db.url) as client:
        for number in range(3):
            said = {"stage": "paid", "count": number % 2}
            client.workflows.start(RunSpec(name="shop", version=1, payload="{}"), id=f"r{number}", attributes=said)
    page, told = asked("list", "--state", "running", "--limit", "2")
    assert page == ["r2", "r1"]
    assert "there are more: --cursor " in told
    assert asked("list", "--limit", "2", "--cursor", told.split()[-1]) == (["r0"], "")
    assert asked("list", "--attribute", "stage=paid", "--attribute", "count=0") == (["r2", "r0"], "")
    assert "write --attribute stage=paid" in asked("list", "--attribute", "stage", code=2)[1]
    conn = db.connect()
    conn.execute("delete from perdure.ready")
    found, told = asked("list", "--stuck", "--limit", "2")
    assert len(found) == 2
    assert "there are more than 2" in told
    assert asked("list", "--stuck")[1] == ""


def test_a_cancel_of_a_parked_run_says_when_it_is_heard(
    db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who cancels a run that is parked is told that only code which comes as far undoes anything, and who forces it
    isn't. Red when a cancel is requested without a word."""
    monkeypatch.setenv("DATABASE_URL", db.url)
    with Client(db.url) as client, db.connect() as conn:
        client.workflows.start(RunSpec(name="checkout", version=1, payload="{}"), id="r")
        park = "with gone as (delete from perdure.ready returning id) "
        park += "insert into perdure.held (id, reason, key) select id, 'invalid', id::text from gone"
        for options, answer, told in (([], "requested", True), (["--force"], "cancelled", False)):
            conn.execute(park.encode())
            assert client.workflows.get("r").state == "parked"
            assert run(["workflows", "cancel", "r", *options]) == 0
            found = capsys.readouterr()
            assert (found.out, "as soon as workers have code" in found.err) == (f"{answer}\n", told)


def test_a_timeline_says_what_a_person_has_done(
    db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever looks at a run sees that a step was skipped, and why; the child that it waits for under the id that other
    commands take, and until when in the form of all times; and a rewind says what it has forgotten [DW-208]. Red when
    a skipped step looks like one that was done, and when a child is told by its job's number."""

    def asked(*arguments: str) -> str:
        assert run(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    monkeypatch.setenv("DATABASE_URL", db.url)
    with Client(db.url) as client:
        job = client.workflows.start(RunSpec(name="checkout", version=1, payload="{}"), id="checkout:1").job
        failed = json.dumps({"kind": "ValueError", "message": "declined"})
        with client.transaction() as tx:
            entries = [
                Entry(job, 0, "pay", 1, "step", "failed", 1, 0.0, 1.0, outcome=failed),
                Entry(job, 0, "child invoice:1", 2, "child", "failed", ended_at=1.0, detail="77", outcome=failed),
                Entry(job, 0, "signal go", 3, "signal", "done", ended_at=1.0, detail="go", outcome="null"),
                Entry(job, 0, "child parcel:1", 4, "child", "waiting", detail="78"),
                Entry(job, 0, "sleep", 5, "sleep", "waiting", due_at=4e9),
            ]
            tx.workflows._runs.change(record(entries))
    conn = db.connect()

    def waits() -> None:
        conn.execute("delete from perdure.ready")
        conn.execute("insert into perdure.waiting (id, wake_at) values (%s, to_timestamp(4e9))", [job])

    waits()
    until = "until 2096-10-02T07:06:40.000Z at the latest"
    assert asked("timeline", "checkout:1").splitlines()[-1] == f"waits for child parcel:1, sleep, {until}"
    asked("workflows", "skip", "checkout:1", "pay", '"cash"', "--note", "paid in cash")
    waits()
    asked("workflows", "skip", "checkout:1", "child invoice:1", "--note", "by hand")
    told = asked("timeline", "checkout:1").splitlines()
    assert told[-3:-1] == ["pay was skipped: paid in cash", "child invoice:1 was skipped: by hand"]
    waits()
    forgotten = "pay, child invoice:1, signal go, child parcel:1, sleep"
    assert asked("workflows", "rewind", "checkout:1", "pay") == f"forgot {forgotten}; goes on from there\n"
