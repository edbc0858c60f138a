"""Starts what the checks look at: `demo --listen --kafka` with its console, and a second console with a login.

The console of the demo has no login, so every visitor is an operator; it changes the simulated Platform of the demo.
The second console shows the same topics with CONSOLE_AUTH=basic. Its Connect screen has an empty simulator of its own,
so that a whole set-up can be applied without a change to the pipeline of the demo.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import subprocess
import tempfile

import simulator
from checks import Failed, expect, wait_until

SIGNING_KEY = "demo-signing-key"
# Choices that a plan with a new webhook needs, and no wait after a change: the simulator there loses nothing.
CHOICES = {
    "CUSTOMERIO_EVENTS": "all",
    "CUSTOMERIO_FULL_RESOLUTION": "false",
    "CUSTOMERIO_WITH_CONTENT": "false",
    "SETUP_SETTLE_SCALE": "0",
}
PASSWORDS = {role: f"correct horse of the {role}" for role in ("viewer", "investigator", "operator")}


@dataclasses.dataclass
class Pipeline:
    binary: str
    kafka: str
    gateway: str
    """Address of the demo's console, for example `http://127.0.0.1:8088`."""
    console: str
    """Address of the console with a login."""
    login: str
    """Name of the topic of webhooks."""
    raw: str
    """Address of the demo's simulator."""
    platform: str
    logs: list

    def log(self):
        return "".join(open(path, encoding="utf-8", errors="replace").read() for path in self.logs)

    def events_accepted(self):
        return simulator.get(f"{self.platform}/admin/stats")["distinct"]

    def is_accepted(self, event_id):
        return simulator.get(f"{self.platform}/admin/events?id={event_id}")["accepted"] > 0

    @contextlib.contextmanager
    def refusing(self, prefix):
        """Platform refuses the events whose ids begin with `prefix`, until the block ends."""
        admin(self.platform, "POST", {"fault": "poison", "prefix": prefix, "status": 400})
        try:
            yield
        finally:
            admin(self.platform, "DELETE")


def admin(platform, method, body=None):
    connection = http.client.HTTPConnection(platform.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        text = None if body is None else json.dumps(body)
        connection.request(method, "/admin/faults", text, {"content-type": "application/json"})
        status = connection.getresponse().status
    expect(status == 204, f"the simulator answers {status} to a fault")


def environment(variables=None):
    """Variables for the product. Those of the caller, such as a proxy or CONSOLE_LISTEN, must not change a check."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **(variables or {})}


@contextlib.contextmanager
def process(command, folder, name, variables=None):
    """Runs a program with its output in a file, and yields the program and the path of the file."""
    path = os.path.join(folder, f"{name}.log")
    with open(path, "wb") as log:
        started = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=environment(variables)
        )
    try:
        yield started, path
    finally:
        started.terminate()
        try:
            started.wait(timeout=20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def line_of(started, path, pattern, seconds):
    """Waits until the output of a program has this pattern. Returns the first group."""

    def find():
        text = open(path, encoding="utf-8", errors="replace").read()
        found = re.search(pattern, text)
        if not found and started.poll() is not None:
            raise Failed(f"the program ended with code {started.returncode}: {text[-2000:]}")
        return found

    return wait_until(find, f"the output of {os.path.basename(path)} {pattern!r}", seconds).group(1)


def listening_ports(pid):
    """The TCP ports at which a process listens: the demo does not print the port of its simulator."""
    sockets = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    ports = []
    for line in open(f"/proc/{pid}/net/tcp").readlines()[1:]:
        fields = line.split()
        is_listening = fields[3] == "0A"
        if is_listening and f"socket:[{fields[9]}]" in sockets:
            ports.append(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def answers(address, path):
    """Whether this address responds to the path with JSON."""
    try:
        return simulator.get(f"http://{address}{path}") is not None
    except (OSError, ValueError):
        return False


def admin_addresses(console):
    """Addresses of the services, which the overview shows."""

    def find():
        with simulator.NO_PROXY.open(f"{console}/", timeout=10) as answer:
            page = answer.read().decode()
        services = page.partition('id="services-title"')[2]
        return re.findall(r'<td class="mono">(?:http://)?(127\.0\.0\.1:\d+)', services)

    return wait_until(find, "the overview with the addresses of the services", 30)


def login_command(binary, demo, raw, services, users):
    prefix = raw.removesuffix("webhooks")
    return [
        binary,
        "console",
        "--console-listen=127.0.0.1:0",
        "--console-auth=basic",
        f"--console-users-file={users}",
        "--console-allow-setup=true",
        f"--services={','.join(services)}",
        f"--kafka-bootstrap-servers={demo['kafka']}",
        "--kafka-security-protocol=plaintext",
        f"--raw-topic={raw}",
        f"--typed-topic={prefix}experience-events",
        f"--dead-letter-topic={prefix}dead-letters",
        f"--receipts-topic={prefix}receipts",
        "--partitions=3",
        "--max-body=1048576",
        f"--transformer-group={raw}-transformer",
        f"--sink-group={raw}-sink",
        f"--customerio-public-url=http://{demo['gateway']}",
        f"--signing-keys={SIGNING_KEY}",
    ]


def add_users(binary, folder):
    users = os.path.join(folder, "users")
    for role, password in PASSWORDS.items():
        subprocess.run(
            [binary, "console", "users", "add", role, "--role", role, "--console-users-file", users],
            input=f"{password}\n",
            text=True,
            check=True,
            capture_output=True,
            env=environment(),
        )
    return users


def start_demo(stack, binary, kafka, folder):
    listen = ["--listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"]
    demo, log = stack.enter_context(process([binary, "demo", "--kafka", kafka, *listen], folder, "demo"))
    console = line_of(demo, log, r"The console is at (http://[^;\s]+);", 120)
    gateway = line_of(demo, log, r"Serving at http://([^/\s]+)/webhooks", 5)
    raw = line_of(demo, log, r"topics (\S+) and its sisters", 5)
    ports = [port for port in listening_ports(demo.pid) if answers(f"127.0.0.1:{port}", "/admin/stats")]
    expect(len(ports) == 1, f"the demo has {len(ports)} simulators")
    return {
        "kafka": kafka,
        "console": console,
        "gateway": gateway,
        "raw": raw,
        "platform": f"http://127.0.0.1:{ports[0]}",
        "log": log,
    }


@contextlib.contextmanager
def running(binary, kafka):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="console-"))
        demo = start_demo(stack, binary, kafka, folder)
        users = add_users(binary, folder)
        _, variables = stack.enter_context(simulator.running(binary))
        services = admin_addresses(demo["console"])
        command = login_command(binary, demo, demo["raw"], services, users)
        console, log = stack.enter_context(process(command, folder, "console", variables | CHOICES))
        login = line_of(console, log, r"The console is at (http://[^;\s]+);", 30)
        gateway, raw, platform = demo["gateway"], demo["raw"], demo["platform"]
        yield Pipeline(binary, kafka, gateway, demo["console"], login, raw, platform, [demo["log"], log])
