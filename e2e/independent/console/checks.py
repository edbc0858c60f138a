"""What the checks have in common: their list, and the words in which they fail."""

import dataclasses
import time
import typing


class Failed(Exception):
    """A check has found something wrong. The message says what and where."""


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    run: typing.Callable


ALL = []


def check(name):
    """Adds a function to the checks. They run in the order in which their modules are imported."""

    def register(run):
        ALL.append(Check(name, run))
        return run

    return register


def expect(condition, message):
    if not condition:
        raise Failed(message)


def expect_equal(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r} instead of {wanted!r}")


def wait_until(condition, what, seconds=20.0, pause=time.sleep):
    """Waits for a true result of `condition`, and returns it. `pause` gets seconds: a page must go on while we wait."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        expect(time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s")
        pause(0.1)
