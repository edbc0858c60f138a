"""Checks the console in a real Chromium, against `demo --listen --kafka`.

    KAFKA_BOOTSTRAP_SERVERS=HOST:PORT python e2e/independent/console BINARY [--pictures DIR] [--only WORD]

Each `check_*.py` is about one concern. The checks share one pipeline and run in the order of MODULES, because
later ones look at what earlier ones have sent. `--pictures` writes pictures of the screens into a folder; those in
docs/ are `console-*.png` of this folder. `--only` runs the checks of the modules whose name contains a word.
"""

import argparse
import importlib
import os
import sys
import time
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
# The sources are read in place: the folder of the repository gets no compiled files.
sys.dont_write_bytecode = True
sys.path.insert(1, os.path.dirname(FOLDER))

from playwright.sync_api import sync_playwright

import browser
import pipeline
from checks import ALL, Failed
from world import World

MODULES = (
    "check_tail",
    "check_dead_letters",
    "check_proof",
    "check_screens",
    "check_events",
    "check_connect",
    "check_login",
    "check_privacy",
    "check_hostile",
    "check_without_script",
    "check_accessibility",
    "check_pictures",
    "check_planted",
)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", metavar="BINARY")
    parser.add_argument("--pictures", metavar="DIR")
    parser.add_argument("--only", metavar="WORD", default="")
    return parser.parse_args()


def missing(chromium, kafka):
    """Says what the checks need and do not have. Ends them: with a failure if that must not happen."""
    what = "Chromium (apt-get install chromium, or CHROMIUM=PATH)" if not chromium else ""
    what = what or ("a Kafka (KAFKA_BOOTSTRAP_SERVERS)" if not kafka else "")
    if what:
        print(f"console: skipped, because this is missing: {what}", flush=True)
        sys.exit(1 if os.environ.get("CI") else 0)


def where(error):
    """The line of these checks in which an error began."""
    lines = [line for line in traceback.extract_tb(error.__traceback__) if FOLDER in line.filename]
    return f"{os.path.basename(lines[-1].filename)}:{lines[-1].lineno}"


def run(check, world):
    """Runs a check, and returns what is wrong."""
    begun, wrong = time.monotonic(), None
    try:
        check.run(world)
    except Failed as failure:
        wrong = str(failure)
    except Exception as error:
        wrong = f"{where(error)}: {type(error).__name__}: {error}"
    took = time.monotonic() - begun
    print(f"console: {'FAILED' if wrong else 'ok':6} {took:5.1f} s  {check.name}", flush=True)
    if wrong:
        print(f"    {check.run.__module__}: {wrong}", flush=True)
    return wrong


def main():
    options = arguments()
    chromium, kafka = browser.find_chromium(), os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    missing(chromium, kafka)
    begun = time.monotonic()
    for module in MODULES:
        importlib.import_module(module)
    chosen = [check for check in ALL if options.only in check.run.__module__]
    with sync_playwright() as playwright, pipeline.running(os.path.abspath(options.binary), kafka) as running:
        print(f"console: ok     {time.monotonic() - begun:5.1f} s  the demo and a second console start", flush=True)
        opened = browser.Browser(playwright, chromium, pipeline.PASSWORDS)
        world = World(running, opened, options.pictures)
        failed = [check.name for check in chosen if run(check, world)]
        version, requests = opened.chromium.version, opened.requests
        opened.chromium.close()
    passed = f"{len(chosen) - len(failed)} of {len(chosen)} checks pass"
    print(f"console: {passed} in Chromium {version}, {requests} requests, {time.monotonic() - begun:.0f} s")
    sys.exit(1 if failed else 0)


main()
