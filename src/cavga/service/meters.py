"""What a server counts and measures, as Prometheus reads it."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cavga.service.live_drift import ScoreWatch

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16)
DIRECTIONS = {"lower": -1.0, "none": 0.0, "higher": 1.0}


class Meters:
    """The counters of one server; `model` is a name that it serves, or empty."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter("cavga_requests", "Requests answered", ["model", "status"], registry=own)
        self.seconds = Histogram(
            "cavga_request_seconds",
            "Seconds from a request's headers to its answer",
            ["model"],
            buckets=SECONDS,
            registry=own,
        )
        self.refused = Counter("cavga_refused", "Requests turned away, by reason", ["reason"], registry=own)
        self.images = Counter(
            "cavga_images", "Images scored, by what was decided", ["model", "is_anomalous"], registry=own
        )
        self.batch_size = Histogram("cavga_batch_size", "Images scored at once", ["model"], buckets=SIZES, registry=own)
        self.queue_length = Gauge("cavga_queue_length", "Images that wait to be scored", ["model"], registry=own)
        self.in_flight = Gauge("cavga_requests_in_flight", "Requests that are worked on or wait", registry=own)
        self.loaded = Gauge("cavga_models_loaded", "Models in memory", registry=own)

    def watch_drift(self, watches: Callable[[], Mapping[str, ScoreWatch]]) -> None:
        """Say of every model how its latest scores lie to those that set its threshold."""
        self.registry.register(_DriftCollector(watches))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def totals(self) -> dict[str, int]:
        """How many requests were answered and refused, and how many images were scored."""
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]

        def total(name: str, **labels: str) -> int:
            found = [s for s in samples if s.name == name and labels.items() <= s.labels.items()]
            return int(sum(sample.value for sample in found))

        return {
            "answered": total("cavga_requests_total", status="200"),
            "refused": total("cavga_refused_total"),
            "images": total("cavga_images_total"),
        }


class _DriftCollector(Collector):
    """Compares when it is asked."""

    def __init__(self, watches: Callable[[], Mapping[str, ScoreWatch]]) -> None:
        self._watches = watches

    def describe(self) -> Iterator[Metric]:
        """Nothing: what is said depends on what was scored."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """A line of every measure for every model that has scored enough."""
        families = {
            name: GaugeMetricFamily(f"cavga_score_drift_{name}", text, labels=["model"])
            for name, text in {
                "direction": "Latest scores beside those that set the threshold: 1 higher, -1 lower, 0 neither",
                "ks_statistic": "Kolmogorov-Smirnov distance of the scores below the threshold",
                "ks_p_value": "Its p-value",
                "median_p_value": "Median conformal p-value: about 0.5 where nothing changed",
                "anomalous_share": "Share of the latest images that were called anomalous",
                "images": "Latest images that are compared",
            }.items()
        }
        for model, watch in self._watches().items():
            families["images"].add_metric([model], watch.num_scores)
            drift = watch.drift()
            if drift is None:
                continue
            whole = drift.whole
            families["direction"].add_metric([model], DIRECTIONS[drift.direction])
            families["median_p_value"].add_metric([model], whole.median_p_value)
            families["anomalous_share"].add_metric([model], whole.num_predicted_anomalous / whole.num_images)
            if whole.comparison is not None:
                families["ks_statistic"].add_metric([model], whole.comparison.statistic)
                families["ks_p_value"].add_metric([model], whole.comparison.p_value)
        yield from families.values()
