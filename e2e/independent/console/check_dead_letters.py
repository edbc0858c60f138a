"""Dead letters: 1,000 are found on Overview, replayed by a filter in two parts, and others are discarded."""

import re

from check_tail import REFUSED, REFUSED_IDS
from checks import check, expect, expect_equal


def number(text):
    found = re.search(r"\d[\d,]*", text)
    expect(found, f"there is no number in {text!r}")
    return int(found.group().replace(",", ""))


def matching(visit):
    return number(visit.page.locator("#matching").inner_text())


def group_of_the_refused(visit):
    """Opens the dead letters that Platform refused, by a click on Overview."""
    visit.open("/")
    visit.wait_for("#dead-letters-title")
    row = visit.page.get_by_role("link", name="refused", exact=True)
    visit.wait(lambda: row.count() > 0, "the code on the overview", 30)
    row.first.click()
    visit.page.wait_for_url("**/dead-letters?*code=refused*")


def dry_run(visit, name="Dry run of a replay"):
    visit.page.get_by_role("button", name=name).click()
    visit.page.wait_for_url("**/dead-letters/work/*")
    visit.wait_for("#confirm-title", 30)
    return number(visit.page.locator(".headline h2").inner_text())


@check("1,000 refused events are one group with an explanation, which Overview leads to")
def found(world):
    with world.visit() as visit:
        group_of_the_refused(visit)
        visit.wait(lambda: visit.page.reload() and matching(visit) >= REFUSED, f"{REFUSED} dead letters", 30)
        expect_equal(matching(visit), REFUSED, "refused events")
        world.remember("dead letters of one code", visit)
        world.picture(visit, "console-dead-letters")
        explanation = visit.page.locator("[aria-labelledby=group-1]").inner_text()
        for part in ("refused", "What it means", "What to do", "To resolve it", "The oldest"):
            expect(part in explanation, f"the group does not say {part!r}: {explanation!r}")
        visit.page.locator("[aria-labelledby=rows-title] tbody a").first.click()
        visit.wait_for("#value-title")
        world.remember("a dead letter", visit)
        visit.expect_text("The record", "Original record", "an event in XDM", "unresolved", REFUSED_IDS)
        visit.open("/")
        visit.wait_for("#dead-letters-title")
        world.picture(visit, "console-overview")


@check("a dry run of those of the sink asks how, changes nothing, and names the number that is to be typed")
def plan(world):
    with world.visit() as visit:
        visit.open(world.pages["dead letters of one code"])
        visit.page.get_by_role("button", name="Dry run of a replay").click()
        visit.wait_for("h1:has-text('This cannot be used')")
        visit.open(world.pages["dead letters of one code"])
        visit.page.get_by_label("As they are").check()
        expect_equal(dry_run(visit), REFUSED, "the plan")
        visit.expect_text("nothing has been changed", "are sent to Platform as they are")
        world.remember("a dry run", visit)
        visit.open(world.pages["dead letters of one code"])
        expect_equal(matching(visit), REFUSED, "dead letters after a dry run")


@check("a wrong number is refused; the right one replays, with progress; Stop leaves the others unresolved")
def stopped(world):
    with world.visit() as visit:
        visit.open(world.pages["a dry run"])
        confirm(visit, REFUSED - 1)
        visit.expect_text("is not the number 1,000", "Nothing was changed")
        visit.open(world.pages["a dry run"])
        confirm(visit, REFUSED, note="the schema is corrected")
        visit.page.wait_for_url("**/dead-letters/work/*")
        expect(visit.page.locator("#job progress").count() == 1, "a replay has no progress")
        visit.page.locator("#job-stop").click()
        visit.wait_for("h2:has-text('Stopped after')", 30)
        world.remember("a stopped replay", visit)
        visit.page.reload()
        visit.wait_for("h2:has-text('Stopped after')")
        done = number(visit.page.locator(".headline h2").inner_text())
        expect(0 < done < REFUSED, f"{done} were replayed before the stop")
        visit.expect_text("The others stay unresolved", "the schema is corrected")
        visit.open(world.pages["dead letters of one code"])
        visit.wait(lambda: visit.page.reload() and matching(visit) == REFUSED - done, "the number of the others", 20)


def confirm(visit, count, note=""):
    visit.page.get_by_label("Note").fill(note)
    visit.page.get_by_label(re.compile("^Type .* to continue")).fill(f"{count:,}")
    visit.page.get_by_role("button", name=re.compile("^(Replay|Discard) .* dead letters")).click()


@check("another dry run replays the others, and Platform accepts all of them")
def replayed(world):
    before = world.pipeline.events_accepted()
    with world.visit() as visit:
        visit.open(world.pages["a stopped replay"])
        left = dry_run(visit, "Make another dry run")
        confirm(visit, left)
        visit.wait_for("h2:has-text('were replayed')", 30)
        expect_equal(number(visit.page.locator(".headline h2").inner_text()), left, "replayed")
        world.remember("a replay", visit)
        world.picture(visit, "console-replay")
        visit.open(world.pages["dead letters of one code"])
        visit.wait(lambda: visit.page.reload() and matching(visit) == 0, "no dead letter of this code", 20)
        visit.wait(lambda: world.pipeline.is_accepted(f"{REFUSED_IDS}000001"), "an accepted replay", 30)
        visit.wait(lambda: world.pipeline.events_accepted() >= before, "accepted replays", 30)
        visit.open(world.pages["a dead letter"])
        visit.expect_text("replayed", "by local")


@check("a discard needs a note and the number, is recorded, and takes the dead letters from the list")
def discarded(world):
    with world.visit() as visit:
        visit.open("/dead-letters?code=not_json")
        visit.reload_until("#rows-title", 20)
        count = matching(visit)
        visit.page.locator("[aria-labelledby=rows-title] tbody a").first.click()
        visit.wait_for("#value-title")
        one = visit.page.url.removeprefix(visit.origin)
        visit.open("/dead-letters?code=not_json")
        expect_equal(dry_run(visit, "Dry run of a discard"), count, "the plan")
        expect(visit.page.locator("#note[required]").count() == 1, "a discard does not ask for a note")
        confirm(visit, count, note="sent by a test")
        visit.wait_for("h2:has-text('discarded')", 30)
        visit.open(one)
        visit.expect_text("discarded", "sent by a test")
        visit.open("/dead-letters?code=not_json")
        visit.wait(lambda: visit.page.reload() and matching(visit) == 0, "no dead letter of this code", 20)


@check("a filter without a match says so, and a filter that cannot be read is a page with a way on")
def filters(world):
    with world.visit() as visit:
        visit.open("/dead-letters?stage=transformer&code=not_json")
        visit.expect_text("Nothing matches this filter")
        visit.open("/dead-letters?since=tomorrow", status=422)
        visit.open("/dead-letters?since=1h&stage=transformer")
        visit.expect_text("unresolved dead letters match")
