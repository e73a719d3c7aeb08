"""Counters and histograms for Prometheus, one registry for each application."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api import connection
from app.api.lanes import Lanes
from app.service.parts import Parts
from app.service.trace import Trace

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})


class _Scraped(Collector):
    """What is there at the moment of a scrape."""

    def __init__(self, parts: Parts, lanes: Lanes) -> None:
        self._parts, self._lanes = parts, lanes

    def collect(self) -> Iterator[Metric]:
        """The figures of the models and of the lanes."""
        runs = CounterMetricFamily("timbre_model_runs", "How often a model was run", labels=["model"])
        for serving in self._parts.shelf.loaded:
            runs.add_metric([serving.name], serving.embedder.runs)
        yield runs
        places = GaugeMetricFamily(
            "timbre_places_taken", "Places kept, waited on or worked on", labels=["lane"]
        )
        working = GaugeMetricFamily("timbre_recordings_working", "Recordings worked on", labels=["lane"])
        waiting = GaugeMetricFamily("timbre_recordings_waiting", "Recordings in the queue", labels=["lane"])
        crowded = GaugeMetricFamily("timbre_crowded", "1 while recordings are turned away", labels=["lane"])
        shed = CounterMetricFamily("timbre_shed", "Recordings turned away as overloaded", labels=["lane"])
        for name, lane in self._lanes.by_name.items():
            for family, value in (
                (places, lane.taken),
                (working, lane.working),
                (waiting, lane.waiting),
                (crowded, lane.crowded),
                (shed, lane.shed),
            ):
                family.add_metric([name], value)
        yield from (places, working, waiting, crowded, shed)
        below = CounterMetricFamily(
            "timbre_connections_refused", "Refused before it was a request, by the code", labels=["code"]
        )
        for code, number in connection.refused.items():
            below.add_metric([code], number)
        yield below
        yield GaugeMetricFamily(
            "timbre_upload_bytes", "Bytes of recordings in memory", value=self._lanes.held_bytes
        )


class Metrics:
    """What the service counts. Labels are routes, statuses and codes: never who spoke."""

    def __init__(self, parts: Parts, lanes: Lanes) -> None:
        """Make an empty registry.

        Args:
            parts: Asked at each scrape for the speakers in the index, and how often the models ran.
            lanes: Asked at each scrape for the recordings in them.
        """
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "timbre_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._latency = Histogram(
            "timbre_request_seconds",
            "Time from the request to its answer",
            ["method", "route", "status"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._stages = Histogram(
            "timbre_stage_seconds",
            "Time of a request spent in one stage",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._audio = Counter("timbre_audio_seconds", "Seconds of recordings decoded", registry=registry)
        self._refusals = Counter(
            "timbre_refusals", "Requests refused, by their code", ["code"], registry=registry
        )
        size = Gauge("timbre_gallery_speakers", "Speakers in the index", registry=registry)
        size.set_function(lambda: parts.galleries.size)
        registry.register(_Scraped(parts, lanes))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def observe(self, method: str, route: str, status: int, seconds: float, trace: Trace) -> None:
        """Count one request.

        Args:
            method: HTTP method; unknown ones are counted together.
            route: Template of the route, so that ids in paths make no label.
            status: HTTP status of the answer.
            seconds: Time it took.
            trace: What happened meanwhile.
        """
        labels = (method if method in _METHODS else "OTHER", route, str(status))
        self._requests.labels(*labels).inc()
        self._latency.labels(*labels).observe(seconds)
        for stage, spent in trace.seconds.items():
            self._stages.labels(stage).observe(spent)
        self._audio.inc(trace.audio_s)
        if trace.code is not None:
            self._refusals.labels(trace.code).inc()

    def exposition(self) -> bytes:
        """The registry in the text format of Prometheus."""
        return generate_latest(self._registry)
