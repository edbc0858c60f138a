"""Login, logout and the three roles, with CONSOLE_AUTH=basic."""

import http.client

import webhooks
from browser import ROLES, log_in, open_event
from checks import check, expect, expect_equal
from world import SCREENS

# Actions, each with the least role that may do it, and the fields of its form.
ACTIONS = {
    "/events/reveal": ("investigator", {"id": "01NOSUCH", "reason": "a check of the roles"}),
    "/dead-letters/reveal": ("investigator", {"position": "0:0", "reason": "a check of the roles"}),
    "/dead-letters/plan": ("operator", {"code": "no_such_code", "operation": "discard"}),
    "/dead-letters/carry-out": ("operator", {"plan": "999999", "confirm": "1"}),
    "/connect/webhook": ("operator", {"source": "no-such-source", "to": "pause"}),
    "/connect/test": ("operator", {"source": "no-such-source", "event": "email_opened"}),
}


@check("without a login, every page leads to the login, and back to itself afterwards")
def login(world):
    with world.browser.visit(world.pipeline.login) as visit:
        for path in (*SCREENS, "/connect/plan", "/events/event?id=01X", "/dead-letters/work/1"):
            visit.open(path)
            expect("/login" in visit.page.url, f"{path} needs no login")
        visit.open("/proof?x=1")
        log_in(visit, "viewer", world.browser.passwords["viewer"])
        expect_equal(visit.page.url, f"{visit.origin}/proof?x=1", "the page after the login")
        visit.expect_text("viewer", "Log out")


@check("a wrong password and an unknown name get the same sentence, and no session")
def wrong_password(world):
    with world.browser.visit(world.pipeline.login) as visit:
        for name, password in (("viewer", "not the password"), ("unknown", world.browser.passwords["viewer"])):
            visit.open("/login")
            log_in(visit, name, password)
            visit.wait_for("[role=alert]")
            visit.expect_text("The name or the password is wrong.")
            expect(password not in visit.page.content(), "the page repeats the password")
            visit.open("/events")
            expect("/login" in visit.page.url, "a wrong password logs in")


@check("the next page after a login is never on another site")
def next_page(world):
    with world.browser.visit(world.pipeline.login) as visit:
        for elsewhere in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
            visit.context.clear_cookies()
            visit.page.goto(f"{visit.origin}/login?next={elsewhere}")
            log_in(visit, "viewer", world.browser.passwords["viewer"])
            expect_equal(visit.page.url, f"{visit.origin}/", f"the page after a login with next={elsewhere}")


@check("Log out ends the session, also for a copy of its cookie; the cookie is not for scripts or other sites")
def logout(world):
    with world.browser.visit(world.pipeline.login) as visit:
        visit.open("/login")
        log_in(visit, "viewer", world.browser.passwords["viewer"])
        cookies = visit.context.cookies()
        flags = [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies]
        expect_equal(flags, [(True, "Strict")], "flags of the cookies")
        expect_equal(visit.page.evaluate("document.cookie"), "", "the cookie for scripts")
        visit.page.get_by_role("button", name="Log out").click()
        visit.page.wait_for_url("**/login")
        visit.context.add_cookies(cookies)
        visit.open("/")
        expect("/login" in visit.page.url, "the session goes on after Log out")


@check("each role sees and may do what docs/console.md says")
def roles(world):
    event = webhooks.event()
    webhooks.send(world.pipeline.gateway, event, webhooks.event(timestamp="soon"))
    for rank, role in enumerate(ROLES):
        with world.visit_as(role) as visit:
            for path in SCREENS:
                visit.open(path)
                expect(visit.page.locator(".user-role").inner_text() == role, f"{path} does not show the role")
            sees(visit, event["event_id"], rank)
            does(visit, rank)


def sees(visit, event_id, rank):
    """The forms are on the pages of those who may send them."""
    visit.open("/dead-letters?code=bad_timestamp")
    visit.reload_until("#rows-title", 30)
    shown = {"a dry run": visit.page.get_by_role("button", name="Dry run of a discard").count() > 0}
    visit.page.locator("[aria-labelledby=rows-title] tbody a").first.click()
    visit.wait_for("#value-title")
    shown["the reveal of a dead letter"] = visit.page.locator("#reason").count() > 0
    visit.open("/connect/plan")
    shown["a change of the set-up"] = visit.page.locator("form[action^='/connect/']").count() > 0
    open_event(visit, f"/events/event?id={event_id}")
    shown["the reveal of an event"] = visit.page.locator("#reason").count() > 0
    may = {name: rank >= (1 if "reveal" in name else 2) for name in shown}
    expect_equal(shown, may, f"what a page of {ROLES[rank]} offers")


def does(visit, rank):
    """Forms that are sent without being offered are refused. For those who may, the answer is about the fields."""
    for path, (least, fields) in ACTIONS.items():
        status, text = visit.post(path, **fields)
        is_refused = status == 403 and "Not allowed" in text
        expect_equal(is_refused, rank < ROLES.index(least), f"{path} as {ROLES[rank]} ({status}) is refused")
    for path, fields in (("/events/search", {"kind": "id", "text": "01X"}), ("/connect/check", {})):
        status, _ = visit.post(path, **fields)
        expect(status in (200, 409), f"{path} as {ROLES[rank]}: {status}")


def request(origin, method, path, **headers):
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@check("another Host, another origin and a form without its token are refused")
def foreign_requests(world):
    for console in (world.pipeline.console, world.pipeline.login):
        expect_equal(request(console, "GET", "/", Host="evil.example"), 421, "another Host")
        for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {}):
            status = request(console, "POST", "/dead-letters/plan", **headers)
            expect_equal(status, 403, f"a POST with {headers}")
    with world.visit() as visit:
        visit.open("/connect")
        visit.page.evaluate("document.querySelectorAll('input[name=token]').forEach(field => { field.value = 'x' })")
        visit.page.get_by_role("button", name="Check again").click()
        visit.wait_for("h1:has-text('This form has expired')")


@check("an expired session is a sentence and a login, not an error")
def expired(world):
    with world.browser.visit(world.pipeline.login) as visit:
        visit.open("/login")
        log_in(visit, "viewer", world.browser.passwords["viewer"])
        visit.wait_for("#flow-title")
        visit.context.clear_cookies()
        visit.wait_for("#stale", 15)
        visit.open("/events")
        expect("/login" in visit.page.url, "an expired session reaches a page")
