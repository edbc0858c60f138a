"""Reads typed records with fastavro and compares them with what `customerio-aep map` prints.

The script shares no code with the product: it decodes Avro with fastavro, and converts Avro to XDM JSON by itself.
It finds the schema of a record as any reader does: by the registry's id (Confluent wire format), or by the fingerprint
that fastavro computes of a schema file (single-object encoding). Standard input: one JSON object per line,
{"record": hexadecimal digits of the Kafka value, "event": output of `map`}. Argument: the registry's base address, or
the schema file.
"""

import datetime
import io
import json
import sys
import urllib.request

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

TENANT = "_acme"


def from_registry(registry, record, known={}):
    """Returns schema and datum of a record in the Confluent wire format."""
    if record[0] != 0:
        sys.exit(f"no Confluent wire format: {record[:5].hex()}")
    schema_id = int.from_bytes(record[1:5], "big")
    if schema_id not in known:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}") as answer:
            known[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return known[schema_id], record[5:]


def from_file(path, record, known={}):
    """Returns schema and datum of a record in single-object encoding."""
    if not known:
        schema = json.load(open(path))
        known[fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")] = fastavro.parse_schema(schema)
    if record[:2] != b"\xc3\x01":
        sys.exit(f"no single-object encoding: {record[:10].hex()}")
    named = record[2:10].hex()
    if named not in known:
        sys.exit(f"the record names the schema of fingerprint {named}, fastavro computes {list(known)}")
    return known[named], record[10:]


def xdm(value):
    """Converts Avro to XDM JSON: removes empty values, formats times as RFC 3339. Returns None if nothing is left."""
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
    where = sys.argv[1]
    schema_and_datum = from_registry if where.startswith("http") else from_file
    count = 0
    for line in sys.stdin:
        pair = json.loads(line)
        schema, datum = schema_and_datum(where, bytes.fromhex(pair["record"]))
        datum = io.BytesIO(datum)
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
    found = "id in the registry" if where.startswith("http") else "fingerprint"
    print(f"fastavro {fastavro.__version__}: {count} records found by {found} and read, each equal to what map prints")


main()
