"""Events: the searches, the page of one event, "map again", and revealing values."""

import json

import webhooks
from browser import open_event
from checks import check, expect, expect_equal


def search(visit, kind, text):
    """Searches by the form, and returns the address of the request that carried the text."""
    visit.open("/events")
    visit.page.get_by_label("By").select_option(kind)
    visit.page.get_by_label("Id or address").fill(text)
    with visit.page.expect_request("**/events/search") as request:
        visit.page.get_by_role("button", name="Search").click()
    expect_equal(request.value.method, "POST", "the method of a search")
    return request.value.url


@check("an event is found by its id, and its page has a timeline and three columns")
def by_id(world):
    event = webhooks.event(name="email_clicked")
    webhooks.send(world.pipeline.gateway, event)
    with world.visit() as visit:
        visit.wait(lambda: world.pipeline.is_accepted(event["event_id"]), "an accepted event", 30)
        search(visit, "id", event["event_id"])
        visit.wait_for("#timeline-title", 30)
        world.remember("an event", visit)
        expect_equal(visit.heading(), "Accepted", "the state of the event")
        steps = visit.page.locator(".timeline .pill").all_inner_texts()
        for step in ("received", "mapped", "accepted"):
            expect(any(step in found for found in steps), f"the timeline has no {step!r}: {steps}")
        visit.expect_text("batch", "xaction id")
        columns = visit.page.locator(".columns-3 h2").all_inner_texts()
        expect_equal(columns, ["Webhook as received", "How it is mapped", "Event as sent (XDM)"], "the columns")
        world.picture(visit, "console-event")


@check("in the columns, a field leads to its rules, a rule to its fields, and hovering shows what is related")
def columns(world):
    with world.visit() as visit:
        open_event(visit, world.pages["an event"])
        for column in range(3):
            fields = visit.page.locator(".columns-3 > section").nth(column).locator(".field")
            expect(fields.count() > 5, f"column {column} has {fields.count()} fields")
        targets = visit.page.locator(".columns-3 a[href^='#']")
        missing = targets.evaluate_all("links => links.filter(link => !document.querySelector(link.hash)).length")
        expect(targets.count() > 10 and missing == 0, f"{missing} of {targets.count()} links lead nowhere")
        visit.page.locator(".columns-3 > section").nth(0).locator(".field", has_text="data.delivery_id").hover()
        related = visit.page.locator(".columns-3 > section").nth(2).locator(".is-related").all_inner_texts()
        expect(any("deliveryID" in text for text in related), f"related to data.delivery_id: {related}")


@check("the delivery id and the person find the event, and what is searched for is in no address")
def by_person(world):
    event = webhooks.event(name="email_opened")
    event["data"].update(delivery_id="DELIVERY-OF-A-CHECK", customer_id="person-of-a-check")
    identifiers = {"id": "person-of-a-check", "email": "check@person.example", "cio_id": "c0ffee00c0ffee"}
    event["data"]["identifiers"] = identifiers
    webhooks.send(world.pipeline.gateway, event)
    with world.visit() as visit:
        visit.wait(lambda: world.pipeline.is_accepted(event["event_id"]), "an accepted event", 30)
        for kind, text in (("id", "DELIVERY-OF-A-CHECK"), ("person_id", "person-of-a-check")):
            search(visit, kind, text)
            visit.wait_for("#timeline-title", 30)
            visit.expect_text(event["event_id"])
        private = ("person-of-a-check", "check@person.example", "check%40person.example")
        seen = [url for url in visit.requests if any(text in url for text in private)]
        expect(not seen, f"a person is in an address: {seen}")
        expect("person-of-a-check" not in visit.page.content(), "the person is on the page")
        search(visit, "email", "unknown@person.example")
        visit.wait_for("h1:has-text('Nothing was found')", 30)
        world.remember("a search without a result", visit)


@check("map again with today's rules compares with the stored event, and writes nothing")
def again(world):
    accepted = world.pipeline.events_accepted()
    with world.visit() as visit:
        open_event(visit, world.pages["an event"])
        visit.page.get_by_role("link", name="Map again with today's rules").click()
        visit.wait_for("#again-title")
        world.remember("an event mapped again", visit)
        expect("Nothing was written." in visit.page.locator("#again").inner_text(), "the result says what was written")
    expect_equal(world.pipeline.events_accepted(), accepted, "accepted events after mapping again")


@check("an id that may be personal data is part of no address")
def private_id(world):
    with world.visit() as visit:
        visit.open("/events/event?id=jo%40example.com", status=422)
        visit.expect_text("may be personal data")


@check("an investigator reveals one event with a reason, and the log says who, which event and why, but no value")
def reveal(world):
    event = webhooks.event(name="email_clicked")
    event["data"]["subject"] = "A subject that only an investigator sees"
    event["data"]["identifiers"]["email"] = "reveal-check@person.example"
    webhooks.send(world.pipeline.gateway, event)
    with world.visit_as("investigator") as visit:
        visit.wait(lambda: world.pipeline.is_accepted(event["event_id"]), "an accepted event", 30)
        open_event(visit, f"/events/event?id={event['event_id']}")
        expect("A subject that" not in visit.page.content(), "the subject is readable before the reveal")
        button = visit.page.get_by_role("button", name="Show the values")
        button.click()
        expect(visit.page.locator("#reason:invalid").count() == 1, "the values are shown without a reason")
        visit.page.locator("#reason").fill("ticket 4711")
        button.click()
        visit.wait_for(".notice-warn:has-text('The values of this event are shown')")
        visit.expect_text("A subject that only an investigator sees", "reveal-check@person.example")
        visit.page.get_by_role("link", name="Hide the values").click()
        visit.wait_for("#timeline-title")
        expect("A subject that" not in visit.page.content(), "the subject is readable after hiding it")
    lines = [line for line in world.pipeline.log().splitlines() if "console_audit" in line and "ticket 4711" in line]
    expect_equal(len(lines), 1, "lines of the audit log with the reason")
    expect(event["event_id"] in lines[0] and "investigator" in lines[0], f"the line says not who or what: {lines[0]}")
    log = world.pipeline.log()
    expect("A subject that" not in log and "reveal-check@" not in log, "a value is in the log")


@check("a dead letter is revealed with a reason as well")
def reveal_dead_letter(world):
    body = webhooks.event(timestamp="soon")
    body["data"]["subject"] = "A subject of a dead letter"
    webhooks.send(world.pipeline.gateway, json.dumps(body))
    with world.visit_as("investigator") as visit:
        visit.open("/dead-letters?code=bad_timestamp")
        visit.reload_until("#rows-title", 30)
        visit.page.locator("[aria-labelledby=rows-title] tbody a").first.click()
        visit.wait_for("#value-title")
        expect("A subject of a" not in visit.page.content(), "the subject is readable before the reveal")
        visit.page.locator("#reason").fill("ticket 4712")
        visit.page.get_by_role("button", name="Reveal the values").click()
        visit.wait_for("text=A subject of a dead letter")
    expect("ticket 4712" in world.pipeline.log(), "the reveal of a dead letter is not in the log")
