"""A real Chromium, and visits to a console with it.

Each visit has a browser profile of its own and records what must never happen: a request to another origin, a dialog,
an error in a script, a refusal by the content security policy. The end of a visit fails if something was recorded, so
that every check of the console also checks this.
"""

import contextlib
import os
import shutil

from checks import Failed, expect, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")
ROLES = ("viewer", "investigator", "operator")


def find_chromium():
    """Path of the browser: CHROMIUM, or the first of the usual names; None if there is none."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


class Visit:
    """A browser profile with one page."""

    def __init__(self, context, origin):
        self.context = context
        self.origin = origin
        self.requests = []
        self.problems = []
        context.on("request", self._requested)
        context.on("dialog", self._dialog)
        context.on("weberror", lambda error: self.problems.append(f"an error in a script: {error.error}"))
        context.on("console", self._said)
        self.page = context.new_page()

    def _requested(self, request):
        self.requests.append(request.url)
        is_inside = request.url.startswith((f"{self.origin}/", "about:", "data:", "blob:"))
        if not is_inside:
            self.problems.append(f"a request to another origin: {request.url}")

    def _dialog(self, dialog):
        self.problems.append(f"a dialog: {dialog.message!r}")
        dialog.dismiss()

    def _said(self, message):
        if "Content Security Policy" in message.text:
            self.problems.append(f"the policy refused something: {message.text}")

    def open(self, path, status=200):
        """Loads a page, and returns the response. Fails if it does not have this status."""
        response = self.page.goto(f"{self.origin}{path}", wait_until="load")
        expect(response.status == status, f"{path} has status {response.status} instead of {status}")
        return response

    def pause(self, seconds):
        self.page.wait_for_timeout(seconds * 1000)

    def wait(self, condition, what, seconds=20.0):
        return wait_until(condition, what, seconds, self.pause)

    def wait_for(self, selector, seconds=20.0):
        """Waits until this element is visible, and returns it."""
        found = self.page.locator(selector)
        self.wait(lambda: found.count() and found.first.is_visible(), f"{selector} on {self.page.url}", seconds)
        return found.first

    def reload_until(self, selector, seconds=20.0):
        """Loads the page until it has this element: for pages without JavaScript that wait for a job."""
        found = self.page.locator(selector)

        def is_there():
            if found.count():
                return True
            self.page.reload()
            return False

        self.wait(is_there, f"{selector} on {self.page.url}", seconds)
        return found.first

    def heading(self):
        return self.page.locator("h1").first.inner_text()

    def text(self):
        return self.page.locator("body").inner_text()

    def expect_text(self, *parts):
        text = self.text()
        for part in parts:
            expect(part in text, f"{self.page.url} does not say {part!r}: {text[:600]!r}")

    def post(self, path, **fields):
        """Sends a form of this session by script, with its token. Returns the status and the text of the response."""
        return self.page.evaluate(
            """async ([path, fields]) => {
                const token = document.querySelector("input[name=token]").value;
                const body = new URLSearchParams({token, ...fields});
                const answer = await fetch(path, {method: "POST", body, redirect: "follow"});
                return [answer.status, await answer.text()];
            }""",
            [path, fields],
        )

    def expect_nothing_wrong(self):
        if self.problems:
            raise Failed("; ".join(dict.fromkeys(self.problems)))


class Browser:
    def __init__(self, playwright, executable, passwords):
        self.chromium = playwright.chromium.launch(executable_path=executable, args=["--no-proxy-server"])
        self.passwords = passwords
        self.sessions = {}
        self.requests = 0

    @contextlib.contextmanager
    def visit(
        self, origin, role=None, scheme="light", javascript=True, width=1280, height=900, watch=True, script=None
    ):
        """Opens a profile. With `role`, that user is logged in. `watch=False`: the check reads `problems` itself."""
        context = self.chromium.new_context(
            color_scheme=scheme,
            java_script_enabled=javascript,
            viewport={"width": width, "height": height},
            locale="en-GB",
            timezone_id="Europe/Berlin",
            storage_state=self.session(origin, role) if role else None,
            service_workers="block",
        )
        context.set_default_timeout(10_000)
        try:
            if script:
                context.add_init_script(path=script)
            visit = Visit(context, origin)
            yield visit
            self.requests += len(visit.requests)
            if watch:
                visit.expect_nothing_wrong()
        finally:
            context.close()

    def session(self, origin, role):
        """The cookies of a user who has logged in."""
        if role not in self.sessions:
            with self.visit(origin) as visit:
                visit.open("/login")
                log_in(visit, role, self.passwords[role])
                self.sessions[role] = visit.context.storage_state()
        return self.sessions[role]


def log_in(visit, name, password):
    visit.page.get_by_label("Name").fill(name)
    visit.page.get_by_label("Password").fill(password)
    visit.page.get_by_role("button", name="Log in").click()
    visit.page.wait_for_load_state("load")


def open_event(visit, path):
    """Opens the page of an event, and waits until the search for it has ended."""
    visit.open(path)
    return visit.wait_for("#timeline-title", 30)
