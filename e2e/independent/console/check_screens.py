"""The five screens: what is on them, their titles, their links, and their headers."""

from checks import check, expect, expect_equal
from world import SCREENS

STATIONS = 7


@check("each of the five screens opens from the navigation and marks itself there")
def navigation(world):
    with world.visit() as visit:
        visit.open("/")
        for path, name in SCREENS.items():
            visit.page.get_by_role("navigation", name="Screens").get_by_role("link", name=name, exact=True).click()
            visit.page.wait_for_url(f"{visit.origin}{path}")
            current = visit.page.locator("nav [aria-current=page]").all_inner_texts()
            expect_equal(current, [name], f"the current screen at {path}")


@check("Overview says in one sentence how things are, shows the flow with numbers, and updates by itself")
def overview(world):
    with world.visit() as visit:
        visit.open("/")
        visit.wait_for("#flow-title")
        expect(visit.heading(), "the overview has no headline")
        expect_equal(visit.page.locator(".station").count(), STATIONS, "stations of the flow")
        charts = visit.page.locator("svg.spark")
        expect(charts.count() >= 3, f"{charts.count()} charts")
        titles = visit.page.locator("svg.spark title").all_text_contents()
        expect(all(titles) and len(titles) == charts.count(), f"titles of the charts: {titles}")
        visit.expect_text("Unresolved dead letters", "Sources", "Platform, by the hour", "Services")
        as_of = visit.page.locator(".headline time").first.get_attribute("datetime")
        visit.wait(
            lambda: visit.page.locator(".headline time").first.get_attribute("datetime") != as_of,
            "new numbers on the overview",
            12,
        )


@check("every number of Overview leads to a screen that exists")
def overview_links(world):
    with world.visit() as visit:
        visit.open("/")
        visit.wait_for("#flow-title")
        links = visit.page.locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
        expect(len(links) > STATIONS, f"only {links}")
        for path in sorted(set(links)):
            visit.open(path)


@check("times are in the visitor's zone, with UTC on hover")
def times(world):
    with world.visit() as visit:
        visit.open("/")
        time = visit.wait_for(".headline time")
        utc, shown, hover = time.get_attribute("datetime"), time.inner_text(), time.get_attribute("title")
        expect(utc.endswith("Z"), f"datetime is {utc}")
        expect(hover == utc, f"the tooltip of a time is {hover!r}, and not in UTC")
        local = visit.page.evaluate(
            "utc => new Date(utc).toLocaleTimeString('en-GB', {timeZone: 'Europe/Berlin'})", utc
        )
        expect(local in shown, f"{shown!r} does not have the local time {local}")


@check("each page has a title of its own")
def titles(world):
    with world.visit() as visit:
        found = {}
        for name, path in world.every_page().items():
            visit.open(path)
            title = visit.page.title()
            expect(title.endswith(" · Customer.io to Experience Platform"), f"{name}: the title is {title!r}")
            found.setdefault(title, []).append(name)
        shared = {title: names for title, names in found.items() if len(names) > 1}
        expect(not shared, f"pages with the same title: {shared}")


@check("a page is never stored, has a strict policy, and what is not there is a page with a way on")
def headers(world):
    with world.visit() as visit:
        for path in SCREENS:
            headers = visit.open(path).headers
            expect_equal(headers.get("cache-control"), "no-store", f"cache-control of {path}")
            policy = headers.get("content-security-policy", "")
            expect("default-src 'none'" in policy and "unsafe" not in policy, f"policy of {path}: {policy}")
        visit.open("/no-such-page", status=404)
        expect(visit.page.get_by_role("link", name="Go to the overview").is_visible(), "404 without a way on")


@check("a page says so while the console does not respond, and goes on afterwards")
def console_away(world):
    with world.visit() as visit:
        visit.open("/")
        visit.wait_for("#flow-title")
        visit.context.set_offline(True)
        visit.wait_for("#stale", 10)
        visit.context.set_offline(False)
        visit.wait(lambda: visit.page.locator("#stale").is_hidden(), "the notice goes away", 10)
