"""What a scrape shows: everything that is in the catalogue, true, and whatever the database does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from math import inf
from urllib.request import urlopen

import pytest

from perdure.admin import metrics
from perdure.admin.metrics import System
from perdure.app.registry import App
from perdure.contrib import prometheus
from perdure.core.backoff import Retry
from perdure.core.telemetry import METRICS, Histogram, Sample
from perdure.fleet.ops import workers
from perdure.pg.errors import SEEN
from tests.cli.terminal import running
from tests.conftest import Database, NewServer
from tests.rooms.jobs.stage import Stage as Kernel
from tests.rooms.worker.stage import Stage, until, working
from tests.tidy.source import ROOT

ALERTS = dict(re.findall(r"- alert: (\w+)\n +expr: (.+)", (ROOT / "docs" / "operate" / "alerts.yml").read_text()))
EXPRESSION = re.compile(
    r"(?:(?:max|min)(?: by \(\w+\) )?\()?(?:(delta|increase|absent)\()?(\w+)(?:\{(\w+)=\"(\w+)\"\})?(?:\[\d+m\])?\)*"
    r"(?: ([<>]) (\d+))?"
)


SHOWN = (
    r'perdure_settled_total\{verdict="completed"\} 4\.0$',
    r'perdure_settled_total\{verdict="retry"\} 1\.0$',
    r'perdure_jobs\{place="dead",queue="default"\} 1\.0$',
    r'perdure_database_errors_total\{sqlstate="55P03"\}',
    r'perdure_claim_seconds_bucket\{le="\+Inf"\} [1-9]',
    r"perdure_run_seconds_count [1-9]",
    r'perdure_workers\{state="alive"\} 1\.0$',
)
"""Lines of a scrape after four jobs have completed, and one has died at its second attempt."""


def scraped(server: object) -> str:
    """The text of a scrape."""
    with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:  # type: ignore[attr-defined]
        return bytes(answer.read()).decode()


@pytest.fixture
def serving() -> Iterator[Callable[..., object]]:
    """Serves sources on a free port, until the test ends."""
    servers = []

    def serve(*sources: prometheus.Source) -> object:
        servers.append(prometheus.serve(0, *sources))
        return servers[-1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


async def test_a_scrape_shows_every_metric(db: Database, serving: Callable[..., object]) -> None:
    """After some work of every kind a scrape has every metric of the catalogue, and the counts are those of what
    happened [DW-171, OPS-27]. Red when a metric is declared and nowhere counted."""
    stage, app = Stage(db), App("a")

    @app.task(retry=Retry(max_attempts=2, delays=(0.01,), jitter="none"))
    async def flaky(fails: bool) -> str:
        if fails:
            raise ValueError("no paper")
        return "sent"

    SEEN.clear()
    ids = await stage.enqueue(*[flaky.job(fails=number == 0) for number in range(5)])
    (later,) = await stage.enqueue(flaky.job(fails=False).options(delay=3_600))
    holder = db.connect()
    holder.execute("begin")
    holder.execute("select from perdure.job where id = %s for update", [later])
    await asyncio.to_thread(db.connect().execute, "insert into perdure.cancel_request (id) values (%s)", [later])
    async with working(db, app) as worker:
        await stage.until_all_in("history", ids[1:])
        await stage.until_in("dead", ids[0])
        await until(lambda: worker._chores.contended["cancels"])
        await stage.until_true("select exists (select from perdure.chore where name = 'history.make')")
        server, text = serving(worker.samples, System(db.url, "perdure")), ""

        async def shown() -> bool:
            nonlocal text
            text = await asyncio.to_thread(scraped, server)
            return all(re.search(f"^{line}", text, re.MULTILINE) for line in SHOWN)

        await until(shown, lambda: text)  # the worker counts an end a moment after the database has it
        holder.execute("rollback")

    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert {metric.name for metric in METRICS} - families == set()


def test_life_does_not_depend_on_the_database(new_server: NewServer, serving: Callable[..., object]) -> None:
    """A scrape of a process whose database is away is answered all the same, and says so [OPS-77]. Red when asking the
    database may fail a scrape."""
    with new_server() as server:
        url = server.url
    text = scraped(serving(lambda: [Sample("perdure_claims_total", 7)], System(url, "perdure")))

    assert "perdure_up 0.0" in text
    assert "perdure_claims_total 7.0" in text


def test_a_worker_command_answers_scrapes(db: Database, tmp_path: object) -> None:
    """``perdure worker --metrics-port`` answers on the loopback address, and says where."""
    (tmp_path / "shop.py").write_text("from perdure import App\napp = App('shop')\n")  # type: ignore[operator]
    with running("worker", "shop:app", "--metrics-port", "0", url=db.url, cwd=tmp_path) as program:  # type: ignore[arg-type]
        (line,) = program.hear("metrics are at")
        address = line.split()[-1]
        program.hear("works on")

        assert address.startswith("http://127.0.0.1:")
        with urlopen(address, timeout=30) as answer:
            assert b"perdure_up 1.0" in answer.read()


def fires(expression: str, before: list[Sample], now: list[Sample]) -> bool:
    """Whether the alert's expression is true of two scrapes: of any series, as Prometheus has it."""
    parsed = EXPRESSION.fullmatch(expression)
    assert parsed is not None, expression
    function, name, label, wanted, sign, bound = parsed.groups()

    def series(samples: list[Sample]) -> dict[tuple[str, ...], float]:
        chosen = [each for each in samples if each.name == name and (label is None or wanted in each.labels)]
        return {each.labels: each.value for each in chosen if not isinstance(each.value, Histogram)}

    values = series(now)
    if function == "absent":
        return not values
    if function is not None:
        values = {labels: value - series(before).get(labels, 0.0) for labels, value in values.items()}
    return any(value > float(bound) if sign == ">" else value < float(bound) for value in values.values())


TROUBLE = {
    "PerdureBacklogIsOld": "update perdure.job set created_at = now() - interval '10 minutes'",
    "PerdureQueueIsInDebt": "update perdure.job set created_at = now() - interval '2 minutes'",
    "PerdureLeasesAreLost": "update perdure.worker set expires_at = now() - interval '1 minute'",
    "PerdureDeadJobsGrow": "insert into perdure.dead (id, reason) select id, 'exhausted' from perdure.job",
    "PerdureNobodyWorks": "delete from perdure.worker",
    "PerdureHousekeepingIsNotDone": (
        "insert into perdure.chore (name, period, last_success_at) values ('a', '1 h', now() - interval '3 h')"
    ),
    "PerdureHousekeepingFails": "insert into perdure.chore (name, consecutive_failures) values ('promote', 3)",
    "PerdureHousekeepingIsParked": (
        "insert into perdure.chore (name, parked_until) values ('a', now() + interval '1 h')"
    ),
    "PerdureCrashLoop": "update perdure.worker set state = 'dead', ended_at = now()",
    "PerdureDaysAreNotMade": "select perdure.drop_days(-9)",
}


@pytest.mark.parametrize("alert", TROUBLE)
def test_an_alert_fires_when_it_should_and_not_before(kernel: Kernel, alert: str) -> None:
    """Each example alert is silent on a healthy system and fires on one that has its trouble [DW-172]. Red when its
    metric isn't there, or its threshold can't be passed."""
    kernel.main.sql("select perdure.make_days(3)")
    for name in ("one", "two", "three"):
        holder = kernel.worker(name)
    kernel.enqueue(20)
    kernel.claim(holder, 5)
    well = kernel.main.run(metrics.system())
    kernel.main.sql(TROUBLE[alert])
    ill = kernel.main.run(metrics.system())

    assert {name for name, expression in ALERTS.items() if fires(expression, well, well)} == set()
    assert fires(ALERTS[alert], well, ill)


def test_an_alert_of_the_server_fires(kernel: Kernel) -> None:
    """The alerts about the server, and about scrapes themselves, fire on figures past their thresholds, and each of the
    page's alerts is fired by a test [DW-172]."""
    well = kernel.main.run(metrics.system())
    of_figures = {
        "PerdureIsNotScraped": [],
        "PerdureDatabaseIsAway": [Sample("perdure_up", 0)],
        "PerdureVacuumIsHeldBack": [Sample("perdure_horizon_seconds", 4_000.0)],
        "PerdureDeadlocks": [Sample("perdure_deadlocks_total", 1)],
    }

    assert {name for name, ill in of_figures.items() if not fires(ALERTS[name], [], ill)} == set()
    assert ALERTS.keys() == TROUBLE.keys() | of_figures.keys()
    assert not any(fires(ALERTS[name], well, well) for name in of_figures)


def test_workers_are_counted_by_what_they_are(kernel: Kernel) -> None:
    """Draining and silent workers aren't counted as alive [DW-171]."""
    one, two, _ = kernel.worker("one"), kernel.worker("two"), kernel.worker("three")
    kernel.main.run(workers.drain(one.id))
    kernel.silence(two)
    found = {each.labels: each.value for each in kernel.main.run(metrics.system()) if each.name == "perdure_workers"}

    assert found == {("alive",): 1, ("draining",): 1, ("silent",): 1}


def test_whether_a_queue_keeps_up_is_scraped(kernel: Kernel) -> None:
    """What arrives and ends in a queue, how long it would drain, and the state that makes of it [ARC-9, ARC-14]; it is
    for ever where jobs are ready and nothing ends. Red when a scrape has depths alone."""
    kernel.worker()
    kernel.enqueue(20)
    still = {(each.name, *each.labels[1:]): each.value for each in kernel.main.run(metrics.system())}
    kernel.main.sql('update perdure.worker set gauges = \'{"queues": {"default": {"ended_per_second": 2}}}\'')
    kernel.main.sql("update perdure.job set created_at = now() - interval '2 minutes'")
    kernel.main.sql(
        "insert into perdure.queue_sample (queue, at, pos, ready, line, ended_per_second, workers, took) "
        "select id, now() - interval '10 s', 1, 5, 0, 2, 1, 0 from perdure.queue"
    )
    found = {(each.name, *each.labels[1:]): each.value for each in kernel.main.run(metrics.system())}

    assert (still["perdure_queue_drain_seconds",], still["perdure_queue_state", "open"]) == (inf, 1)
    assert (found["perdure_queue_state", "in_debt"], found["perdure_queue_state", "open"]) == (1, 0)
    assert (found["perdure_queue_ended_per_second",], found["perdure_queue_drain_seconds",]) == (2.0, 10.0)
    assert 2.0 < float(str(found["perdure_queue_arrived_per_second",])) <= 3.5


def test_a_histogram_counts_and_ranks() -> None:
    """Spans are counted under their bounds, and a share of them is found under the bound that holds it."""
    histogram = Histogram()
    nothing = histogram.quantile(0.5)
    for milliseconds in range(1, 101):
        histogram.observe(milliseconds / 1_000)

    assert (nothing, histogram.quantile(0.5), histogram.quantile(0.99)) == (0.0, 0.05, 0.1)
    assert sum(histogram.counts) == 100
    assert round(histogram.sum, 3) == 5.05
