"""Writes docs/reference/telemetry.md from the catalogue of metrics.

python tools/write_telemetry.py
"""

from __future__ import annotations

from pathlib import Path

from perdure.core.telemetry import METRICS, Metric

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "telemetry.md"
OPENING = """\
# Metrics

Written by `python tools/write_telemetry.py` from `core/telemetry.py`. Names and labels are stable: one that goes is
named in the changelog a version before.

```sh
perdure worker shop:app --metrics-port 9464
```

answers scrapes of Prometheus at `http://127.0.0.1:9464/metrics`; with `--processes` each further process takes the next
port. It needs the extra `prometheus`. The port is one of this machine's own: scrape it from there, or put a proxy
before it that asks who is calling.

An answer doesn't depend on the database: when that is away, `perdure_up` is 0 and what the process has counted is there
all the same. So the port is also a sign of life for an orchestrator.

Seconds are seconds; what ends in `_total` only rises, until the process starts again. Example alerts are in
[alerts.yml](../operate/alerts.yml).
"""
WORKER = "## Of a worker process\n\nCounted as it works, in batches; nothing is added to what a single job costs."
SYSTEM = """## Of the system

Asked of the database when somebody looks, on a connection that is closed again, and kept for five seconds. Every worker
says the same, so take `max` over them."""


def render() -> str:
    """The page."""
    return "\n".join([OPENING, *_part(WORKER, "worker"), *_part(SYSTEM, "system")]).rstrip() + "\n"


def _part(opening: str, source: str) -> list[str]:
    rows = [_row(metric) for metric in METRICS if metric.source == source]
    return [opening, "", "| metric | kind | labels | means |", "|---|---|---|---|", *rows, ""]


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.means} |"


if __name__ == "__main__":
    PAGE.write_text(render())
