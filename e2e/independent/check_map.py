"""Runs `customerio-aep map` on every example, and validates the events against the composed schema with `jsonschema`.

For every golden file (crates/mapping/tests/golden), `map` must print the event of the file. The event must be valid
according to schemas/xdm/composed-schema.json and to the rules that a schema cannot express. For every quirk
(crates/mapping/tests/quirks), `map` must print the event, or end with exit code 1 and the dead-letter code of the file.
Argument: the binary.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

import jsonschema

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
RECEIVED_AT = "1700000001480"


def run_map(binary, body, as_file):
    arguments = [binary, "map", "--compact", "--tenant", "acme", "--received-at", RECEIVED_AT]
    if not as_file:
        return subprocess.run([*arguments, "-"], input=body, capture_output=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        return subprocess.run([*arguments, file.name], capture_output=True)


def check_event(validator, event, text, name):
    for error in validator.iter_errors(event):
        sys.exit(f"{name}: {error.json_path}: {error.message}")
    identities = [identity for group in event.get("identityMap", {}).values() for identity in group]
    if identities and sum(identity["primary"] for identity in identities) != 1:
        sys.exit(f"{name}: not exactly one primary identity")
    if len(text) > 10_000:
        sys.exit(f"{name}: {len(text)} bytes")


def main():
    binary = sys.argv[1]
    schema = json.loads(open(f"{ROOT}/schemas/xdm/composed-schema.json").read().replace("{TENANT_ID}", "acme"))
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
    for known in ["uri-reference", "uri", "date-time"]:
        if known not in validator.format_checker.checkers:
            sys.exit(f"the validator cannot check the format {known}")

    pairs, examples = set(), sorted(glob.glob(f"{ROOT}/crates/mapping/tests/golden/*.json"))
    for path in examples:
        name, golden = os.path.basename(path), json.load(open(path))
        result = run_map(binary, json.dumps(golden["webhook"]).encode(), as_file=False)
        if result.returncode != 0:
            sys.exit(f"{name}: exit code {result.returncode}: {result.stderr.decode()}")
        event = json.loads(result.stdout)
        if event != golden["event"]:
            sys.exit(f"{name}: map prints {event}")
        check_event(validator, event, result.stdout.strip(), name)
        pairs.add((event["_acme"]["customerio"]["objectType"], event["_acme"]["customerio"]["metric"]))
    if len(pairs) != 73:
        sys.exit(f"{len(pairs)} pairs of the catalogue's 73")

    mapped = refused = 0
    for path in sorted(glob.glob(f"{ROOT}/crates/mapping/tests/quirks/*.json")):
        name, quirk = os.path.basename(path), json.load(open(path))
        if quirk["body"].endswith(" bytes)"):
            continue  # The file contains only the beginning of the body.
        result = run_map(binary, quirk["body"].encode(), as_file=True)
        if "event" in quirk["result"]:
            if result.returncode != 0 or json.loads(result.stdout) != quirk["result"]["event"]:
                sys.exit(f"{name}: exit code {result.returncode}, {result.stdout.decode()}")
            check_event(validator, json.loads(result.stdout), result.stdout.strip(), name)
            mapped += 1
        else:
            first = result.stderr.decode().split("\n")[0]
            if (result.returncode, result.stdout, first) != (1, b"", quirk["result"]["rejected"]):
                sys.exit(f"{name}: exit code {result.returncode}, {first}")
            refused += 1
    print(
        f"jsonschema: map gives a valid event for each of {len(examples)} examples ({len(pairs)} pairs) and {mapped} oddities, "
        f"and refuses {refused} with code 1 and the reason"
    )


main()
