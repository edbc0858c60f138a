"""Reads typed records with fastavro and compares them with what `customerio-aep map` prints.

Shares no code with the product: schema from the registry, Avro by fastavro, and the rules from Avro to XDM JSON written
down here once more. Standard input: one JSON object a line, {"record": hex of the Kafka value, "event": map's output}.
Argument: the registry's base address.
"""

import datetime
import io
import json
import sys
import urllib.request

import fastavro

TENANT = "_acme"


def schema_of(registry, schema_id, known={}):
    if schema_id not in known:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}") as answer:
            known[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return known[schema_id]


def xdm(value):
    """Avro to XDM JSON: nothing that is empty, times as RFC 3339 with milliseconds; None if nothing is left."""
    if isinstance(value, dict):
        members = {name: xdm(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None} or None
    if isinstance(value, list):
        elements = [element for element in map(xdm, value) if element is not None]
        return elements or None
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    return value


def main():
    registry = sys.argv[1]
    count = 0
    for line in sys.stdin:
        pair = json.loads(line)
        record = bytes.fromhex(pair["record"])
        if record[0] != 0:
            sys.exit(f"no Confluent wire format: {record[:5].hex()}")
        datum = io.BytesIO(record[5:])
        schema = schema_of(registry, int.from_bytes(record[1:5], "big"))
        event = fastavro.schemaless_reader(datum, schema)
        if datum.read():
            sys.exit("bytes are left over behind the record")
        event[TENANT] = event.pop("_tenant")
        event = xdm(event)
        if event != pair["event"]:
            sys.exit(f"fastavro reads\n{json.dumps(event)}\nbut map prints\n{json.dumps(pair['event'])}")
        count += 1
    if count == 0:
        sys.exit("no records came")
    print(f"fastavro {fastavro.__version__}: {count} records read, each equal to what map prints")


main()
