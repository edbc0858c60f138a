"""Runs every query of docs/use-in-platform.md on the golden events, and compares the results with the webhooks.

The expected results are computed from the webhooks, not from the events, so that an error in a query, the page or the
mapping is found.
Argument: the engine, `duckdb` (CI) or `spark`.
"""

import collections
import datetime
import glob
import json
import os
import random
import re
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NOW = datetime.datetime.now(datetime.timezone.utc)


def events():
    """Returns pairs of webhook and event: the golden files six times, with different people and times, and quirks."""
    dice = random.Random(7)
    pairs = []
    for _ in range(6):
        for path in sorted(glob.glob(f"{ROOT}/crates/mapping/tests/golden/*.json")):
            text = open(path).read().replace("u-1042", f"u-{dice.randrange(150)}")
            text = text.replace("01E4C4CT6YDC7Y5M7FE1GWWPQJ", f"event-{len(pairs)}").replace("RPILAgUB", f"RPIL{dice.randrange(30)}")
            if dice.random() < 0.1:
                text = text.replace("Jo.Doe@example.com", "other@example.com").replace("jo.doe@", "other@")
            pair = json.loads(text)
            pairs.append((pair["webhook"], pair["event"]))
    for name in ["machine-open", "machine-click", "proxied-open", "email-unsubscribed-person", "no-identifiers", "deleted-person"]:
        quirk = json.load(open(f"{ROOT}/crates/mapping/tests/quirks/{name}.json"))
        text = json.dumps([json.loads(quirk["body"]), quirk["result"]["event"]])
        pairs.append(tuple(json.loads(text.replace("01HZX", f"event-{len(pairs)}").replace('"u1"', f'"q-{len(pairs)}"'))))
    for number, (webhook, event) in enumerate(pairs):
        # Subscription changes and quirks (without `RPIL`) are recent, so that every query's time range contains them.
        webhook["age"] = 2 if "RPIL" not in json.dumps(webhook) else dice.choice([1, 5, 20, 60, 200])
        webhook["time"] = NOW - datetime.timedelta(days=webhook["age"], seconds=number)
        event["timestamp"] = webhook["time"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return pairs


class DuckDb:
    def __init__(self, rows):
        import duckdb

        self.name = f"DuckDB {duckdb.__version__}"
        self.db = duckdb.connect()
        # DuckDB must read every row to find all fields; by default, it reads only a sample.
        self.db.execute(
            "CREATE TABLE customer_io_message_events AS SELECT * REPLACE (CAST(timestamp AS TIMESTAMPTZ) AS timestamp) "
            f"FROM read_json('{rows}', sample_size=-1, map_inference_threshold=-1)"
        )

    def run(self, sql):
        return self.db.execute(sql).fetchall()


class Spark:
    def __init__(self, rows):
        from pyspark.sql import SparkSession, functions

        self.db = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
        self.db.sparkContext.setLogLevel("ERROR")
        self.name = f"Spark SQL {self.db.version}"
        table = self.db.read.json(rows).withColumn("timestamp", functions.to_timestamp("timestamp"))
        table.createOrReplaceTempView("customer_io_message_events")

    def run(self, sql):
        # The table of this test is a temporary view, which Spark does not allow in a permanent view.
        return [tuple(row) for row in self.db.sql(sql.replace("CREATE VIEW", "CREATE TEMPORARY VIEW")).collect()]


def person(webhook):
    data = webhook["data"]
    return (data.get("identifiers") or {}).get("id") or data.get("customer_id") or None


def is_machine(webhook):
    return webhook["data"].get("prefetched") is True or webhook["data"].get("machine") is True


def people(webhooks, *conditions):
    return {(person(webhook),) for webhook in webhooks if all(condition(webhook) for condition in conditions)}


def metric(*names):
    return lambda webhook: webhook["metric"] in names


def channel(name):
    return lambda webhook: webhook.get("object_type") == name


def younger(days):
    return lambda webhook: webhook["age"] < days


def human(webhook):
    return not is_machine(webhook)


def about_message(webhook):
    return "email_address" not in webhook["data"]


def expectations(webhooks):
    """Returns the expected result of each query, as a set of rows."""
    newest = {}
    for webhook in sorted(filter(metric("subscribed", "unsubscribed"), webhooks), key=lambda webhook: webhook["time"]):
        newest[person(webhook)] = webhook["metric"]
    emails = [webhook for webhook in webhooks if channel("email")(webhook)]
    young = [webhook for webhook in emails if younger(90)(webhook)]
    active = people(young, metric("opened", "clicked"), human)
    funnel = collections.defaultdict(lambda: collections.defaultdict(set))
    for webhook in emails:
        data = webhook["data"]
        if data.get("campaign_id") is not None:
            step = webhook["metric"] if not is_machine(webhook) else "machine"
            funnel[str(data["campaign_id"])][step].add(data.get("delivery_id"))
    steps = ["sent", "delivered", "opened", "clicked", "converted", "bounced", "unsubscribed"]
    count = lambda ids: len([one for one in ids if one])
    machines = collections.Counter(
        ("bot_" if is_machine(webhook) else "") + {"opened": "open", "clicked": "click"}[webhook["metric"]]
        for webhook in filter(metric("opened", "clicked"), emails)
    )
    statuses = {"bounced": "bounce", "failed": "error", "undeliverable": "exclude", "dropped": "exclude"}
    failures = collections.Counter()
    for webhook in filter(metric(*statuses), webhooks):
        push_dropped = channel("push")(webhook) and webhook["metric"] == "dropped"
        status = "denylist" if push_dropped else statuses[webhook["metric"]]
        failures[(webhook["object_type"], status, webhook["data"].get("failure_message"))] += 1
    identities = collections.defaultdict(lambda: [0, 0, 0, 0])
    for webhook in webhooks:
        data, row = webhook["data"], identities[webhook.get("object_type") or webhook["object_type_type"]]
        identifiers = data.get("identifiers") or {}
        reachable = channel("email")(webhook) and data.get("recipient")
        known = person(webhook) or identifiers.get("cio_id") or identifiers.get("email") or data.get("email_address")
        row[0] += 1
        row[1] += person(webhook) is not None
        row[2] += bool(identifiers.get("cio_id"))
        row[3] += not (known or reachable)
    addresses = collections.defaultdict(set)
    for webhook in emails:
        if webhook["data"].get("recipient"):
            addresses[person(webhook)].add(webhook["data"]["recipient"].lower())
    return {
        "human-open": people(emails, metric("opened"), human, younger(7)),
        "bounced": people(emails, metric("bounced")),
        "unsubscribed": {(who,) for who, last in newest.items() if last == "unsubscribed"},
        "in-app-click": people(webhooks, channel("in_app"), metric("clicked"), younger(30)),
        "replied": people(webhooks, metric("replied")),
        "push-lost": people(webhooks, channel("push"), metric("bounced", "dropped")),
        "complained": people(webhooks, metric("spammed")),
        "gone-quiet": people(young, metric("delivered")) - active,
        "funnel": {(campaign, *(count(found[step]) for step in steps)) for campaign, found in funnel.items()},
        "machines": set(machines.items()),
        "failures": {(*key, number) for key, number in failures.items()},
        "identities": {(channel, *row) for channel, row in identities.items()},
        "shared": {(who, len(found)) for who, found in addresses.items() if len(found) > 1},
        "compare": compared([webhook for webhook in webhooks if younger(3)(webhook)]),
    }


# The dataset of Adobe's own source: it lacks some events, and has one that this product does not have.
ADOBE = """CREATE VIEW adobe_customerio_events AS
SELECT DISTINCT _id, timestamp FROM customer_io_message_events WHERE _id LIKE 'event-%' AND _id NOT LIKE '%7'
UNION ALL SELECT 'only-adobe' AS _id, now() AS timestamp"""


def is_in_adobes_dataset(webhook):
    return not webhook["event_id"].endswith("7")


def compared(webhooks):
    both = sum(map(is_in_adobes_dataset, webhooks))
    return {
        ("in both", both),
        ("only in the new dataset", len(webhooks) - both),
        ("only in the dataset of Adobe", 1),
    }


def check_union(engine, sql, webhooks):
    """Checks the view of both datasets. The change to the new dataset is ten days ago: no event has this age."""
    change = (NOW - datetime.timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if sql.count("2026-12-01T09:00:00Z") != 2:
        sys.exit("the time of change is not twice in the view of both datasets")
    engine.run(sql.replace("2026-12-01T09:00:00Z", change))
    found = set(engine.run("SELECT origin, COUNT(*) FROM all_customerio_events GROUP BY origin"))
    old = [webhook for webhook in webhooks if not younger(10)(webhook) and is_in_adobes_dataset(webhook)]
    expected = {("adobe", len(old)), ("customerio-aep", sum(map(younger(10), webhooks)))}
    if found != expected:
        sys.exit(f"the view of both datasets has {found}, not {expected}")


def main():
    pairs = events()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as rows:
        for number, (_, event) in enumerate(pairs):
            for _ in range(2 if number % 4 == 0 else 1):
                rows.write(json.dumps(event) + "\n")
        # The test event of `check --end-to-end` must not be in any result.
        test = json.loads(json.dumps(pairs[0][1]))
        test["_id"] = "customerio-aep-test-1"
        test.pop("identityMap", None)
        test["_acme"]["customerio"].update({"objectType": "customerio-aep.test", "metric": "end_to_end"})
        rows.write(json.dumps(test) + "\n")
        rows.flush()
        engine = {"duckdb": DuckDb, "spark": Spark}[sys.argv[1]](rows.name)
        page = open(f"{ROOT}/docs/use-in-platform.md").read()
        queries = dict(re.findall(r"<!-- query: (\S+) -->\n```sql\n(.*?)```", page, re.S))
        if page.count("```sql") != len(queries):
            sys.exit("a query of the page has no name")
        engine.run(queries.pop("view"))
        distinct = engine.run("SELECT COUNT(*) FROM customerio_events")[0][0]
        if distinct != len(pairs):
            sys.exit(f"the view shows {distinct} events of {len(pairs)}")
        engine.run(ADOBE)
        check_union(engine, queries.pop("union"), [webhook for webhook, _ in pairs])
        expected = expectations([webhook for webhook, _ in pairs])
        if queries.keys() != expected.keys():
            sys.exit(f"queries without expectation, or the reverse: {queries.keys() ^ expected.keys()}")
        for name, sql in queries.items():
            found = engine.run(sql)
            if len(found) != len(set(found)) or set(found) != expected[name]:
                missing, extra = expected[name] - set(found), set(found) - expected[name]
                sys.exit(f"query `{name}`: missing {sorted(missing, key=str)[:5]}, too many {sorted(extra, key=str)[:5]}")
            if not found:
                sys.exit(f"query `{name}` finds nothing here, which proves nothing")
        print(f"{engine.name}: {len(queries)} queries and the views of docs/use-in-platform.md give what {len(pairs)} webhooks say")


main()
