"""Hostile content in every field of an event is shown as text, and is never executed."""

import time
import urllib.parse

import hostile
import webhooks
from checks import check, expect
from check_privacy import read

# Time in which a page with a text of 1 MB must be there, in seconds. The program is built without optimisation.
LONGEST = 5


def send_everything(world):
    bodies = [*hostile.events(), *hostile.without_a_page(), *hostile.dead_letters()]
    for body in bodies:
        webhooks.send(world.pipeline.gateway, body)
    with world.visit() as visit:
        visit.wait(lambda: world.pipeline.is_accepted("01HOSTILE00"), "an accepted hostile event", 40)


def expect_harmless(visit, where):
    executed = hostile.executed(visit)
    expect(not executed and not visit.problems, f"{where}: {executed} {visit.problems}")


def touch(visit):
    """Does what a person does: moves over rows, and brings elements into focus."""
    for row in visit.page.locator("main .field, main tbody tr").all()[:6]:
        row.hover()
    visit.page.keyboard.press("Tab")


def reveal(visit, button):
    visit.page.locator("#reason").fill(f"ticket {hostile.MARKUP}")
    visit.page.get_by_role("button", name=button).click()
    visit.page.wait_for_load_state("load")


@check("hostile content in every field of an event is not executed: masked, revealed, and mapped again")
def pages_of_events(world):
    with world.visit() as visit:
        visit.open("/events")
        send_everything(world)
        for number, text in enumerate(hostile.TEXTS):
            path = f"/events/event?id=01HOSTILE{number:02}"
            read(visit, path)
            expect_harmless(visit, path)
            reveal(visit, "Show the values")
            expect_harmless(visit, f"{path}, revealed")
            shown = visit.page.locator(".field-value").all_text_contents()
            visible = text.replace("\u0000", "").replace("\r\n", "\n")
            is_shown = any(visible in value.replace("\u0000", "").replace("\r\n", "\n") for value in shown)
            expect(is_shown, f"{path}: {text!r} is not shown as it was sent")
            touch(visit)
            expect_harmless(visit, f"{path}, revealed, under the mouse")
            read(visit, f"{path}&again=1")
            expect_harmless(visit, f"{path}, mapped again")


@check("1 MB in one field, 4,000 fields and 90 levels are cut, say so, and leave the page quick")
def large(world):
    with world.visit() as visit:
        for event_id in ("01HOSTILELARGE", "01HOSTILEMANY", "01HOSTILEDEEP"):
            path = f"/events/event?id={event_id}"
            read(visit, path)
            reveal(visit, "Show the values")
            expect_harmless(visit, path)
            begun = time.monotonic()
            html = read(visit, path)[-1]
            took = time.monotonic() - begun
            expect(took < LONGEST, f"{path} takes {took:.1f} s")
            expect(len(html) < 600_000, f"{path} has {len(html):,} characters")


@check("hostile dead letters are not executed: in the list, one by one, and revealed")
def dead_letters(world):
    with world.visit() as visit:
        for path in ("/dead-letters", "/dead-letters?code=not_json", "/dead-letters?code=bad_timestamp"):
            read(visit, path)
            expect_harmless(visit, path)
        links = visit.page.locator("[aria-labelledby=rows-title] tbody a")
        visit.open("/dead-letters")
        count = len(hostile.dead_letters())
        paths = links.evaluate_all("links => links.map(link => link.getAttribute('href'))")[:count]
        expect(len(paths) >= count, f"only {len(paths)} dead letters are listed")
        for path in paths:
            visit.open(path)
            expect_harmless(visit, path)
            reveal(visit, "Reveal the values")
            expect_harmless(visit, f"{path}, revealed")


@check("hostile content that is written by the visitor into addresses and forms is not executed")
def reflected(world):
    with world.visit() as visit:
        for text in hostile.TEXTS:
            quoted = urllib.parse.quote(text, safe="")
            for path in (
                f"/events?source={quoted}&channel={quoted}&outcome={quoted}",
                f"/dead-letters?code={quoted}&source={quoted}&since={quoted}",
                f"/events/event?id={quoted}",
                f"/events/record?topic={quoted}&position={quoted}",
                f"/dead-letters/one?position={quoted}",
                f"/proof/results/{quoted}",
                f"/{quoted}",
                f"/login?next={quoted}",
            ):
                visit.page.goto(f"{visit.origin}{path}")
                expect_harmless(visit, path)
        for path, field in (("/events", "#text"), ("/proof", "#since")):
            visit.open(path)
            visit.page.locator(field).fill(hostile.SCRIPT)
            visit.page.keyboard.press("Enter")
            visit.page.wait_for_load_state("load")
            expect_harmless(visit, f"{field} of {path}")


@check("hostile content is not executed in the live list and in the results of a search")
def lists(world):
    with world.visit() as visit:
        visit.open("/events")
        visit.wait(lambda: visit.page.locator("[data-tail-said]").inner_text().startswith("Live"), "the live list", 30)
        webhooks.send(world.pipeline.gateway, *hostile.without_a_page(), webhooks.event("01HOSTILELAST"))
        visit.wait_for("[data-tail] :text-is('01HOSTILELAST')", 40)
        expect_harmless(visit, "the live list")
        visit.page.locator("#kind").select_option("person_id")
        visit.page.locator("#text").fill(hostile.MARKUP)
        visit.page.get_by_role("button", name="Search").click()
        visit.wait_for("h1:has-text('event'), h1:has-text('Nothing'), #timeline-title", 40)
        expect_harmless(visit, "the result of a search")


@check("characters that change the direction of a text stay within its field")
def directions(world):
    number = hostile.TEXTS.index(hostile.DIRECTIONS)
    with world.visit() as visit:
        read(visit, f"/events/event?id=01HOSTILE{number:02}")
        reveal(visit, "Show the values")
        styles = visit.page.locator(".field-value").evaluate_all(
            "fields => [...new Set(fields.map(field => getComputedStyle(field).unicodeBidi))]"
        )
        isolating = {"isolate", "isolate-override", "plaintext"}
        expect(set(styles) <= isolating, f"unicode-bidi of the values: {styles}")
