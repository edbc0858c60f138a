"""Signed webhooks, as Customer.io sends them, and the bodies that the checks send."""

import concurrent.futures
import contextlib
import glob
import hashlib
import hmac
import http.client
import itertools
import json
import os
import time

from checks import expect

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
KEY = b"demo-signing-key"
# Ids of the events of this run: an id that was sent before would be a duplicate.
RUN = f"{int(time.time()):010}"
NUMBERS = itertools.count(1)


def golden(name):
    """The webhook of a golden file, for example `email_clicked`, with the current time."""
    body = json.load(open(f"{ROOT}/crates/mapping/tests/golden/{name}.json"))["webhook"]
    body["timestamp"] = int(time.time())
    return body


def golden_names():
    paths = glob.glob(f"{ROOT}/crates/mapping/tests/golden/*.json")
    return sorted(os.path.basename(path).removesuffix(".json") for path in paths)


class Sender:
    """One connection to the gateway."""

    def __init__(self, gateway):
        self.connection = http.client.HTTPConnection(gateway, timeout=20)

    def send(self, body):
        """Sends a body, a text or JSON; ends the check unless the gateway stores it."""
        data = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
        timestamp = str(int(time.time()))
        signature = hmac.new(KEY, b"v0:" + timestamp.encode() + b":" + data, hashlib.sha256).hexdigest()
        headers = {"x-cio-timestamp": timestamp, "x-cio-signature": signature}
        self.connection.request("POST", "/webhooks/customerio", data, headers)
        answer = self.connection.getresponse()
        answer.read()
        expect(answer.status == 202, f"the gateway answers {answer.status} to a webhook of {len(data)} bytes")


@contextlib.contextmanager
def sender(gateway):
    opened = Sender(gateway)
    try:
        yield opened
    finally:
        opened.connection.close()


def send_at_once(gateway, bodies, connections=4):
    """Sends many bodies as fast as the gateway stores them."""

    def send_part(part):
        with sender(gateway) as opened:
            for body in part:
                opened.send(body)

    with concurrent.futures.ThreadPoolExecutor(connections) as threads:
        list(threads.map(send_part, [bodies[number::connections] for number in range(connections)]))


def send(gateway, *bodies):
    with sender(gateway) as opened:
        for body in bodies:
            opened.send(body)


def event(event_id=None, name="email_opened", **changes):
    """A webhook with an id of its own. `changes` replaces members of its top level."""
    body = golden(name)
    body["event_id"] = event_id or f"01CHECK{RUN}{next(NUMBERS):06}"
    return {**body, **changes}


def with_every_text(value, replace, path=""):
    """Returns a copy of a JSON value with each text replaced by `replace(path, text)`."""
    if isinstance(value, dict):
        return {key: with_every_text(item, replace, f"{path}.{key}" if path else key) for key, item in value.items()}
    if isinstance(value, list):
        return [with_every_text(item, replace, f"{path}[]") for item in value]
    return replace(path, value) if isinstance(value, str) else value
