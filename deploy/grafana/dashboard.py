"""Writes dashboards/customerio-aep.json: one page, in the order in which data flows. `make dashboard` runs it, and
`make ops-rules` fails if the file is not what this script writes."""

import json
import pathlib
import sys

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# If the variable is All, this matches every installation, also one without the label (Docker Compose).
WHERE = 'namespace=~"$namespace"'
PROCESS = WHERE + ',job=~".*(ingest-gateway|transformer|sink).*"'
RATE = "$__rate_interval"
OPTIONS = {
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "graphMode": "none",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        # The tooltip shows all curves, the largest first.
        "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": False},
    },
}


class Page:
    """The panels, each placed after the one before it."""

    def __init__(self):
        self.panels, self.x, self.y, self.height, self.last_id = [], 0, 0, 0, 0
        self.folded, self.below_folded = None, 0

    def next_id(self):
        self.last_id += 1
        return self.last_id

    def row(self, title, folded=False):
        self.end_line()
        if self.folded is not None:
            # A folded row takes one line; Grafana moves what follows when it is unfolded.
            self.y = self.below_folded
        row = {
            "id": self.next_id(),
            "type": "row",
            "title": title,
            "collapsed": folded,
            "gridPos": {"x": 0, "y": self.y, "w": 24, "h": 1},
            "panels": [],
        }
        self.panels.append(row)
        self.folded = row["panels"] if folded else None
        self.y += 1
        self.below_folded = self.y

    def end_line(self):
        self.x, self.y, self.height = 0, self.y + self.height, 0

    def panel(self, kind, title, description, queries, width, height=8, unit="short", defaults=None):
        if self.x + width > 24:
            self.end_line()
        targets = [
            {"refId": "ABCDEFGH"[index], "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(queries)
        ]
        panel = {
            "id": self.next_id(),
            "type": kind,
            "title": title,
            "description": description,
            "datasource": DATASOURCE,
            "targets": targets,
            "gridPos": {"x": self.x, "y": self.y, "w": width, "h": height},
            "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []},
            "options": OPTIONS[kind],
        }
        (self.panels if self.folded is None else self.folded).append(panel)
        self.x, self.height = self.x + width, max(self.height, height)

    def stat(self, title, description, queries, unit="short", steps=(), **more):
        """One number per query; `steps` are (value, colour) from which the colour changes."""
        thresholds = [{"color": "green", "value": None}] + [{"color": colour, "value": value} for value, colour in steps]
        defaults = {"thresholds": {"mode": "absolute", "steps": thresholds}, "noValue": more.pop("without", "no data")}
        self.panel("stat", title, description, queries, 3, 4, unit, defaults, **more)

    def graph(self, title, description, queries, width, unit="short", **more):
        self.panel("timeseries", title, description, queries, width, 8, unit, **more)


def quantile(share, histogram, window=RATE):
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{WHERE}}}[{window}])))"


def rate(metric, matchers="", by=""):
    where = WHERE + ("," + matchers if matchers else "")
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{{where}}}[{RATE}]))"


def increase(metric, window, matchers="", by=""):
    where = WHERE + ("," + matchers if matchers else "")
    return f"sum{f' by ({by}) ' if by else ''}(increase({metric}{{{where}}}[{window}]))"


def build():
    page = Page()
    page.row("Is it healthy?")
    page.stat(
        "On hold",
        "Reasons for which a service holds records. A person has to act.",
        [
            (f"sum(max by (reason) (customerio_transformer_held{{{WHERE}}}))", "transformer"),
            (f"sum(max by (reason) (customerio_sink_held{{{WHERE}}}))", "sink"),
        ],
        steps=[(1, "red")],
    )
    page.stat(
        "On hold for",
        "How long the oldest hold lasts.",
        [
            (f"max(time() - (customerio_{service}_held_since_timestamp_seconds{{{WHERE}}} > 0))", service)
            for service in ("transformer", "sink")
        ],
        "s",
        steps=[(1, "red")],
        without="no hold",
    )
    page.stat(
        "Waiting for",
        "Services and reasons that wait for something outside. It ends by itself, except for missing permissions.",
        [
            (f"sum(max by (reason) (customerio_{service}_waiting{{{WHERE}}}))", service)
            for service in ("gateway", "transformer", "sink")
        ],
        steps=[(1, "orange")],
    )
    page.stat(
        "Oldest unsettled",
        "Age of the oldest record without a durable outcome. The service level during an outage.",
        [
            (f"max(customerio_transformer_oldest_unsettled_seconds{{{WHERE}}})", "transformer"),
            (f"max(customerio_sink_oldest_unsettled_seconds{{{WHERE}}})", "sink"),
        ],
        "s",
        steps=[(60, "orange"), (300, "red")],
    )
    page.stat(
        "99 % accepted within",
        "From the gateway's receipt to Platform's acceptance, in the last 5 minutes. Empty while nothing is accepted.",
        [(quantile(0.99, "customerio_event_age_seconds", "5m"), "")],
        "s",
        steps=[(10, "orange"), (60, "red")],
        without="none accepted",
    )
    page.stat(
        "Records waiting",
        "Distance between the services' progress and the end of the topics.",
        [(f"sum(customerio_kafka_consumer_lag_records{{{WHERE}}})", "")],
        steps=[(10_000, "orange"), (100_000, "red")],
    )
    page.stat(
        "Dead letters, 24 h",
        "Written in the last 24 hours, also those that are resolved.",
        [(increase("customerio_dead_letters_total", "24h"), "")],
        steps=[(1, "orange"), (100, "red")],
    )
    page.stat(
        "Not stored, 1 h",
        "Webhooks of known sources that did not get a 202 in the last hour.",
        [(increase("customerio_gateway_requests_total", "1h", 'code!="202",source!="unknown"'), "")],
        steps=[(1, "orange")],
    )
    page.stat(
        "Expired unread",
        "Records that the retention deleted before they were read. They are lost.",
        [(f"sum(customerio_kafka_records_expired_total{{{WHERE}}})", "")],
        steps=[(1, "red")],
    )

    page.row("How much")
    page.graph(
        "Events per second",
        "The three curves are close to each other if everything keeps up. Duplicates and dead letters explain differences.",
        [
            (rate("customerio_gateway_requests_total", 'code="202"'), "stored"),
            (rate("customerio_transformer_records_total", 'outcome=~"mapped.*"'), "typed"),
            (rate("customerio_sink_records_total", 'outcome="accepted"'), "accepted"),
        ],
        12,
        "eps",
    )
    page.graph(
        "By channel",
        "Typed events by object type.",
        [(rate("customerio_transformer_records_total", 'outcome=~"mapped.*"', "object_type"), "{{object_type}}")],
        12,
        "eps",
    )

    page.row("How late")
    page.graph(
        "Event age at acceptance",
        "From the gateway's receipt to Platform's acceptance. Shows nothing while nothing is accepted.",
        [(quantile(share, "customerio_event_age_seconds"), f"p{share * 100:.0f}") for share in (0.5, 0.9, 0.99)],
        6,
        "s",
    )
    page.graph(
        "Oldest unsettled record",
        "How long ago the gateway received it. 0 if no record has waited for more than two seconds.",
        [
            (f"max(customerio_transformer_oldest_unsettled_seconds{{{WHERE}}})", "transformer"),
            (f"max(customerio_sink_oldest_unsettled_seconds{{{WHERE}}})", "sink"),
        ],
        6,
        "s",
    )
    page.graph(
        "Where the time goes, p99",
        "The duration of each step.",
        [
            (quantile(0.99, "customerio_gateway_request_duration_seconds"), "gateway's response"),
            (quantile(0.99, "customerio_gateway_publish_duration_seconds"), "of it Kafka"),
            (quantile(0.99, "customerio_transformer_transaction_duration_seconds"), "transaction"),
            (quantile(0.99, "customerio_sink_request_duration_seconds"), "Platform's response"),
        ],
        6,
        "s",
    )
    page.graph(
        "Records waiting",
        "By topic.",
        [(f"sum by (topic) (customerio_kafka_consumer_lag_records{{{WHERE}}})", "{{topic}}")],
        6,
    )

    page.row("What is refused, and why")
    page.graph(
        "Gateway's responses",
        "By HTTP status.",
        [(rate("customerio_gateway_requests_total", by="code"), "{{code}}")],
        6,
        "reqps",
    )
    page.graph(
        "Dead letters",
        "By stage and code; events that Platform rejected after acceptance also by the broken rule.",
        [
            (increase("customerio_dead_letters_total", RATE, by="stage, code") + " > 0", "{{stage}} {{code}}"),
            (increase("customerio_sink_rejections_total", RATE, by="keyword") + " > 0", "rejected: {{keyword}}"),
        ],
        6,
        defaults={"noValue": "none"},
    )
    page.graph(
        "Platform's responses",
        "By HTTP status, or by the kind of failure if there was no response.",
        [(rate("customerio_sink_requests_total", by="status"), "{{status}}")],
        6,
        "reqps",
    )
    page.graph(
        "Duplicates and left out",
        "Repeated webhooks, events without an identity, and fields and identities that are not in the event.",
        [
            (rate("customerio_transformer_records_total", 'outcome=~"duplicate|mapped_without_identity"', "outcome"), "{{outcome}}"),
            (rate("customerio_transformer_ignored_fields_total", by="reason"), "fields {{reason}}"),
            (rate("customerio_transformer_ignored_identities_total", by="reason"), "identities {{reason}}"),
        ],
        6,
        "eps",
    )

    page.row("How full")
    page.graph(
        "Share of the limits",
        "At 100 % the gateway responds with 503 or closes waiting connections; the sink starts no further request.",
        [
            (f"max(customerio_gateway_in_flight_bytes{{{WHERE}}} / customerio_gateway_in_flight_limit_bytes{{{WHERE}}})", "gateway: bytes"),
            (f"max(customerio_gateway_connections{{{WHERE}}} / customerio_gateway_connections_limit{{{WHERE}}})", "gateway: connections"),
            (f"max(customerio_sink_requests_in_flight{{{WHERE}}} / customerio_sink_concurrency_limit{{{WHERE}}})", "sink: requests"),
        ],
        8,
        "percentunit",
    )
    page.graph(
        "Reach of the dedup window",
        "How far back repeated webhooks are recognised, in the partition where it is shortest.",
        [(f"min(customerio_transformer_dedup_window_seconds{{{WHERE}}})", "reach")],
        8,
        "s",
    )
    page.graph(
        "Records per request",
        "Larger requests are cheaper.",
        [(quantile(share, "customerio_sink_batch_records"), f"p{share * 100:.0f}") for share in (0.5, 0.99)],
        8,
    )

    page.row("Gateway", folded=True)
    page.graph(
        "Publish failures",
        "By reason.",
        [(rate("customerio_gateway_publish_failures_total", by="reason"), "{{reason}}")],
        6,
        "eps",
    )
    page.graph(
        "Connections",
        "Open connections, and those that were closed to make room or because of TLS.",
        [
            (f"sum(customerio_gateway_connections{{{WHERE}}})", "open"),
            (increase("customerio_gateway_connections_evicted_total", RATE), "evicted"),
            (increase("customerio_gateway_tls_handshake_failures_total", RATE), "TLS handshake failed"),
        ],
        6,
    )
    page.graph(
        "Live signing keys",
        "By source and instance. All gateways must show the same.",
        [(f"customerio_gateway_signing_keys{{{WHERE}}}", "{{source}} {{instance}}")],
        6,
    )
    page.graph(
        "Files read again",
        "By file and result; below, 1 means that the changed file is invalid.",
        [
            (increase("customerio_gateway_reloads_total", RATE, by="files, outcome"), "{{files}} {{outcome}}"),
            (f"max by (files) (customerio_gateway_reload_broken{{{WHERE}}})", "{{files}} invalid"),
        ],
        6,
    )

    page.row("Transformer", folded=True)
    page.graph(
        "Transactions",
        "Aborted transactions; their records are read again.",
        [(increase("customerio_transformer_transaction_aborts_total", RATE), "aborted")],
        6,
    )
    page.graph(
        "Deferred records",
        "Records over the dead-letter limit, which stay on the raw topic until a restart.",
        [(f"sum by (partition) (customerio_transformer_deferred_records{{{WHERE}}})", "partition {{partition}}")],
        6,
        defaults={"noValue": "none"},
    )
    page.graph(
        "Dedup windows",
        "Ids in all windows, and how long it takes to restore one.",
        [
            (f"sum(customerio_transformer_dedup_window_ids{{{WHERE}}})", "ids"),
            (quantile(0.99, "customerio_transformer_dedup_rebuild_duration_seconds"), "restoring, p99 (s)"),
        ],
        6,
    )
    page.graph(
        "Event time after receipt",
        "Above 0 by more than a few seconds, the clock of a gateway is slow.",
        [
            (f"max(customerio_transformer_event_time_ahead_seconds{{{WHERE}}})", "largest difference"),
            (increase("customerio_transformer_timestamps_adjusted_total", RATE), "adjusted events"),
        ],
        6,
        "s",
    )

    page.row("Sink", folded=True)
    page.graph(
        "Records by outcome",
        "Retried records are sent again.",
        [(rate("customerio_sink_records_total", by="outcome"), "{{outcome}}")],
        6,
        "eps",
    )
    page.graph(
        "On hold, by reason",
        "docs/runbooks.md describes each reason.",
        [(f"max by (reason) (customerio_sink_held{{{WHERE}}})", "{{reason}}")],
        6,
    )
    page.graph(
        "Size of a request",
        "Bytes of its body. Platform's limit is 1,000,000.",
        [(quantile(share, "customerio_sink_batch_bytes"), f"p{share * 100:.0f}") for share in (0.5, 0.99)],
        6,
        "bytes",
    )
    page.graph(
        "Access tokens",
        "Requests for a token, by result.",
        [(increase("customerio_sink_token_refreshes_total", RATE, by="outcome"), "{{outcome}}")],
        6,
    )

    page.row("Partitions", folded=True)
    page.graph(
        "Records waiting, by partition",
        "Equal curves are normal. One curve that only grows is a partition that makes no progress.",
        [(f"sum by (topic, partition) (customerio_kafka_consumer_lag_records{{{WHERE}}})", "{{topic}} {{partition}}")],
        12,
    )
    page.graph(
        "Progress, by partition",
        "Records per second whose outcome became durable.",
        [(f"sum by (topic, partition) (deriv(customerio_kafka_consumer_offset{{{WHERE}}}[{RATE}]))", "{{topic}} {{partition}}")],
        12,
        "eps",
    )

    page.row("Processes")
    page.graph("CPU", "Cores.", [(f"rate(process_cpu_seconds_total{{{PROCESS}}}[{RATE}])", "{{job}} {{instance}}")], 6)
    page.graph("Memory", "Resident.", [(f"process_resident_memory_bytes{{{PROCESS}}}", "{{job}} {{instance}}")], 6, "bytes")
    page.graph(
        "File descriptors",
        "Share of the limit.",
        [(f"process_open_fds{{{PROCESS}}} / process_max_fds{{{PROCESS}}}", "{{job}} {{instance}}")],
        6,
        "percentunit",
    )
    page.graph(
        "Rebalances, restarts, versions",
        "Changes of the assignment, started processes, and the running versions.",
        [
            (increase("customerio_kafka_rebalances_total", RATE, by="job, kind"), "{{job}} {{kind}}"),
            (f"sum by (job) (changes(process_start_time_seconds{{{PROCESS}}}[{RATE}]))", "{{job}} restarts"),
            (f"count by (service, version) (customerio_build_info{{{WHERE}}})", "{{service}} {{version}}"),
        ],
        6,
    )
    return page.panels


def dashboard():
    namespace = {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": DATASOURCE,
        "query": "label_values(customerio_build_info, namespace)",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
    return {
        "uid": "customerio-aep",
        "title": "Customer.io to Experience Platform",
        "tags": ["customerio-aep"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [datasource, namespace]},
        "annotations": {"list": []},
        "panels": build(),
    }


if __name__ == "__main__":
    path = pathlib.Path(__file__).parent / "dashboards" / "customerio-aep.json"
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        if path.read_text() != text:
            sys.exit(f"{path} is not what dashboard.py writes: run `make dashboard`")
    else:
        path.write_text(text)
