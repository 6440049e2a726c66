"""The catalogue's samples in the text format of Prometheus, on a port of this machine; the extra ``prometheus``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIServer

from ..core.errors import InvalidOption, Unsupported
from ..core.telemetry import NAMED, Histogram, Metric, Sample

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector
except ImportError as error:
    raise Unsupported(
        "prometheus-client isn't installed", field="metrics", fix="install it: pip install 'perdure[prometheus]'"
    ) from error

Source: TypeAlias = Callable[[], Iterable[Sample]]

LOOPBACK = "127.0.0.1"


class Samples(Collector):
    """What the sources say at the moment of a scrape."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        """A family for each metric that has a sample."""
        found: dict[str, list[Sample]] = defaultdict(list)
        for source in self._sources:
            for sample in source():
                found[sample.name].append(sample)
        for name, samples in found.items():
            yield family(NAMED[name], samples)


def family(metric: Metric, samples: Iterable[Sample]) -> Family:
    """One metric with its values, as the client library knows it."""
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    made: Any = kinds[metric.kind](metric.name, metric.means, labels=metric.labels)
    for sample in samples:
        if isinstance(sample.value, Histogram):
            made.add_metric(list(sample.labels), list(_buckets(sample.value)), sample.value.sum)
        else:
            made.add_metric(list(sample.labels), sample.value)
    found: Family = made
    return found


def serve(port: int, *sources: Source, address: str = LOOPBACK) -> WSGIServer:
    """Answer scrapes on a thread until ``shutdown``; port 0 takes a free one. Raises InvalidOption for one in use."""
    registry = CollectorRegistry()
    registry.register(Samples(*sources))
    try:
        server, _ = start_http_server(port, addr=address, registry=registry)
    except OSError as error:
        raise InvalidOption(
            f"{port} can't be listened on ({error})", field="--metrics-port", fix="give a free one"
        ) from error
    return server


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Upper bounds with how many spans stay under them, each including those before."""
    seen = 0
    for bound, count in zip((*map(str, Histogram.BOUNDS), "+Inf"), list(histogram.counts), strict=True):
        seen += count
        yield bound, seen
