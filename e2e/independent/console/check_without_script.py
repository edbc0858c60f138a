"""Every screen and every action without JavaScript. The live list is then the last 50 events."""

import re

import webhooks
from checks import check, expect, expect_equal
from world import SCREENS


def without_script(world):
    return world.visit(javascript=False)


@check("without JavaScript, each screen has its content, and a link that loads it again")
def screens(world):
    with without_script(world) as visit:
        for path, name in SCREENS.items():
            visit.open(path)
            expect(visit.heading(), f"{path} has no heading")
            expect(visit.page.locator("main .card").count() > 0, f"{path} has no content")
            expect_equal(visit.page.locator("nav [aria-current=page]").inner_text(), name, "the current screen")
        visit.open("/")
        expect(visit.page.get_by_role("link", name="Load the numbers again").is_visible(), "no link on the overview")
        visit.open("/events")
        rows = visit.page.locator("[data-tail] tbody tr").count()
        expect(0 < rows <= 50, f"{rows} rows without JavaScript")
        for button in ("Stop", "Print"):
            expect(visit.page.get_by_role("button", name=button).count() == 0, f"{button} does nothing here")
        visit.page.get_by_role("link", name="Show the last 50 again").click()
        expect(visit.page.url.startswith(f"{visit.origin}/events"), visit.page.url)


@check("without JavaScript, times are in UTC")
def times(world):
    with without_script(world) as visit:
        visit.open("/")
        text = visit.page.locator(".headline time").first.inner_text()
        expect("UTC" in text or text.endswith("Z"), f"a time is {text!r}")


@check("without JavaScript, an event is searched for, looked at, mapped again and revealed")
def event(world):
    event = webhooks.event(name="email_clicked")
    event["data"]["subject"] = "A subject without a script"
    webhooks.send(world.pipeline.gateway, event)
    with without_script(world) as visit:
        visit.wait(lambda: world.pipeline.is_accepted(event["event_id"]), "an accepted event", 30)
        visit.open("/events")
        visit.page.locator("#text").fill(event["event_id"])
        visit.page.get_by_role("button", name="Search").click()
        visit.reload_until("#timeline-title", 30)
        visit.page.get_by_role("link", name="Map again with today's rules").click()
        visit.reload_until("#again-title", 30)
        visit.page.locator("#reason").fill("ticket 4714")
        visit.page.get_by_role("button", name="Show the values").click()
        visit.wait_for(".notice-warn")
        visit.expect_text("A subject without a script")


@check("without JavaScript, a dead letter is looked at, planned and discarded")
def dead_letter(world):
    webhooks.send(world.pipeline.gateway, webhooks.event(metric=None))
    with without_script(world) as visit:
        visit.open("/dead-letters?code=missing_metric")
        visit.reload_until("#rows-title", 30)
        visit.page.get_by_role("button", name="Dry run of a discard").click()
        visit.reload_until("#confirm-title", 30)
        found = visit.page.locator("label[for=confirm]").inner_text()
        visit.page.locator("#confirm").fill(re.search(r"[\d,]+", found).group())
        visit.page.locator("#note").fill("sent by a test")
        visit.page.get_by_role("button", name=re.compile("^Discard")).click()
        visit.reload_until("h2:has-text('discarded')", 30)


@check("without JavaScript, an audit runs and its result is reached")
def audit(world):
    with without_script(world) as visit:
        visit.open("/proof")
        before = visit.page.locator("[aria-labelledby=ended-title] tbody tr").count()
        visit.page.get_by_role("button", name="The last hour").click()
        rows = visit.page.locator("[aria-labelledby=ended-title] tbody tr")
        visit.wait(lambda: visit.page.reload() and rows.count() > before, "the end of the audit", 60)
        rows.first.get_by_role("link").click()
        visit.wait_for("table.audit")


@check("without JavaScript, the set-up is checked and planned, and a test event is sent")
def connect(world):
    with without_script(world) as visit:
        visit.open("/connect")
        visit.page.get_by_role("button", name="Check again").click()
        running = visit.page.locator("#checks[hx-trigger]")
        visit.wait(lambda: visit.page.reload() and running.count() == 0, "the end of the checks", 60)
        expect(visit.page.locator(".findings li").count() > 8, "there are hardly any findings")
        visit.page.get_by_role("link", name="Plan, webhooks and test event").click()
        visit.wait_for("#objects-title")
        visit.page.get_by_role("button", name="Look at the body").first.click()
        visit.page.get_by_role("button", name="Send it, and follow it").click()
        visit.reload_until("h1:has-text('Accepted')", 60)


@check("without JavaScript, a person logs in and out")
def login(world):
    with world.browser.visit(world.pipeline.login, javascript=False) as visit:
        visit.open("/proof")
        visit.page.locator("#name").fill("viewer")
        visit.page.locator("#password").fill(world.browser.passwords["viewer"])
        visit.page.get_by_role("button", name="Log in").click()
        visit.wait_for("h1:has-text('Proof')")
        visit.page.get_by_role("button", name="Log out").click()
        visit.wait_for("h1:has-text('Log in')")
