"""A viewer's pages contain no address, name or number of a person whose events were sent."""

import re
import urllib.parse

import private
import webhooks
from checks import check, expect, expect_equal
from world import SCREENS

REFUSED_IDS = "01PRIVATEREFUSED"
# Events whose pages are read: each of these has fields that others do not have.
OPENED = (
    "customer_subscription_preferences_changed",
    "customer_unsubscribed",
    "email_bounced",
    "email_clicked",
    "email_sent",
    "push_bounced",
    "slack_sent",
    "sms_replied",
    "webhook_failed",
)
# Pages of one kind that are read, for example of single dead letters.
MOST_OF_A_KIND = 4
MOST_PAGES = 60
# The parts of pages that scripts load.
PARTS = ("/overview/live", "/connect/checks", "/connect/progress/live", "/dead-letters/reading")


def send_everything(world):
    gateway = world.pipeline.gateway
    with world.pipeline.refusing(REFUSED_IDS):
        refused = private.event("sms_sent", f"{REFUSED_IDS}1")
        webhooks.send(gateway, refused, *private.accepted(), *private.with_private_ids(), *private.dead_letters())
        with world.visit() as visit:
            is_there = lambda: visit.open("/dead-letters?code=refused") and "0 of" not in matching(visit)
            visit.wait(is_there, "the dead letter of the sink", 40)
    last = f"01PRIVATE{len(webhooks.golden_names()) - 1:04}"
    with world.visit() as visit:
        visit.wait(lambda: world.pipeline.is_accepted(last), "accepted events", 40)


def matching(visit):
    return visit.page.locator("#matching").inner_text()


def paths_of_events():
    names = webhooks.golden_names()
    ids = [f"{names.index(name):04}" for name in OPENED] + ["METRIC", "TYPE", "CODES"]
    return [f"/events/event?id=01PRIVATE{event_id}" for event_id in ids] + ["/events/event?id=01PRIVATE0000&again=1"]


def kind(path):
    """A path without the values that differ between pages of one kind."""
    parts = urllib.parse.urlsplit(path)
    names = sorted(urllib.parse.parse_qs(parts.query))
    return re.sub(r"\d+", "N", parts.path), tuple(names)


def read(visit, path):
    """The HTML of a page. A page that waits for a job is read again when the job has ended."""
    pages = []

    def has_ended():
        response = visit.page.goto(f"{visit.origin}{path}", wait_until="domcontentloaded")
        pages.append(response.text())
        return not re.search(r'id="job"|id="reading" hx-get|id="checks" class="stack" hx-get', pages[-1])

    visit.wait(has_ended, f"the end of the job of {path}", 40)
    return pages


def links(visit, page):
    found = (link.replace("&#38;", "&").replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', page))
    return [path for path in found if not path.startswith("/assets/") and not path.endswith("/json")]


def pages_of(visit, first):
    """Reads pages from `first` on, following their links. Yields each path with its HTML."""
    waiting, seen, kinds = list(first), set(), {}
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        of_kind = kinds.get(kind(path), 0)
        if path in seen or path not in first and of_kind >= MOST_OF_A_KIND:
            continue
        seen.add(path)
        kinds[kind(path)] = of_kind + 1
        for page in read(visit, path):
            yield path, page
        waiting += links(visit, page)


def stream(visit, seconds):
    """What the live list gets, and the parts of pages that scripts load."""
    return visit.page.evaluate(
        """async ([seconds, parts]) => {
            const heard = [];
            const tail = new EventSource("/events/tail");
            tail.onmessage = message => heard.push(message.data);
            await new Promise(done => setTimeout(done, seconds * 1000));
            tail.close();
            for (const path of parts) heard.push(await (await fetch(path)).text());
            return heard.join("\\n");
        }""",
        [seconds, PARTS],
    )


def audit(visit):
    """The JSON of an audit that this visitor starts."""
    visit.open("/proof")
    visit.page.get_by_role("button", name="Everything retained").click()
    visit.page.wait_for_url("**/proof/results/*", timeout=60_000)
    return visit.page.evaluate("async path => (await fetch(path)).text()", f"{visit.page.url}/json")


def searched(visit, kind, text):
    visit.open("/events")
    visit.page.get_by_label("By").select_option(kind)
    visit.page.get_by_label("Id or address").fill(text)
    visit.page.get_by_role("button", name="Search").click()
    visit.wait_for("h1:has-text('event'), #timeline-title", 40)
    return f"{visit.page.url.removeprefix(visit.origin)}?list=1"


def expect_nothing(found, where):
    expect(not found, f"a viewer reads {found} in {where}")


@check("no page of a viewer contains an address, a name or a number that was sent")
def viewer(world):
    with world.visit_as("viewer") as visit:
        visit.open("/events")
        send_everything(world)
        expect_nothing(private.found_in(stream(visit, 3)), "the live list")
        searches = [searched(visit, "person_id", private.PERSON_ID), searched(visit, "id", private.ADDRESS)]
        expect_nothing(private.found_in(audit(visit)), "the JSON of an audit")
        first = [*SCREENS, "/connect/plan", "/dead-letters?code=refused", *searches, *paths_of_events()]
        paths, masked = set(), 0
        for path, page in pages_of(visit, first):
            expect_nothing(private.found_in(page), path)
            paths.add(path)
            masked += page.count("•••")
        expect(len(paths) > 25 and masked > 300, f"only {len(paths)} pages with {masked} masked values were read")
        urls = [url for url in visit.requests if private.found_in(url)]
        expect_nothing(urls, "the addresses of requests")


@check("the logs of the services and of both consoles contain none of it")
def logs(world):
    expect_equal(private.found_in(world.pipeline.log().lower()), [], "found in the logs")


@check("an investigator reads the values after a reveal, so that the check above does not search for nothing")
def investigator(world):
    with world.visit_as("investigator") as visit:
        pages = read(visit, paths_of_events()[3])
        expect_equal(private.found_in(pages[-1]), [], "before the reveal")
        visit.page.locator("#reason").fill("ticket 4713")
        visit.page.get_by_role("button", name="Show the values").click()
        visit.wait_for("a:has-text('Hide the values')")
        found = private.found_in(visit.page.content())
        expect(len(found) == len(private.PARTS), f"only {found} are revealed")
