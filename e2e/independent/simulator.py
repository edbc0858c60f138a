"""Starts `customerio-aep platform-sim` for a check, and stops it afterwards."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    with NO_PROXY.open(url, timeout=10) as answer:
        return json.load(answer)


@contextlib.contextmanager
def running(binary, *options):
    """Runs an empty simulator; yields its address, and the variables that `customerio-aep setup` needs for it."""
    port = free_port()
    command = [binary, "platform-sim", "--fresh", "--listen", f"127.0.0.1:{port}", "--settle-scale", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        variables = {}
        for line in process.stdout:
            if "=" in line and not line.startswith("#"):
                name, value = line.strip().split("=", 1)
                variables[name] = value
            # The simulator prints this variable last.
            if line.startswith("CUSTOMERIO_WORKSPACE="):
                break
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                get(f"{address}/admin/stats")
                break
            except OSError:
                time.sleep(0.05)
        yield address, variables
    finally:
        process.terminate()
        process.wait(timeout=20)


def token(address, variables):
    """Requests an access token, as any client does."""
    form = {
        "grant_type": "client_credentials",
        "client_id": variables["IMS_CLIENT_ID"],
        "client_secret": variables["IMS_CLIENT_SECRET"],
        "scope": "openid",
    }
    with NO_PROXY.open(f"{address}/ims/token/v3", urllib.parse.urlencode(form).encode(), timeout=10) as answer:
        return json.load(answer)["access_token"]


def change(address, access_token, variables, method, path, body=None):
    """Sends a change as a client other than `setup`."""
    headers = {
        "authorization": f"Bearer {access_token}",
        "content-type": "application/json",
        "x-api-key": variables["IMS_CLIENT_ID"],
        "x-gw-ims-org-id": variables["PLATFORM_IMS_ORG"],
        "x-sandbox-name": "dev",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/data/foundation{path}", data, headers, method=method)
    with NO_PROXY.open(request, timeout=10) as answer:
        answer.read()
