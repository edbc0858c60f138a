"""WCAG 2.2 AA with axe in both colour schemes, a width of 320 px, and everything by keyboard."""

import os

import axe_playwright_python

from checks import check, expect, expect_equal
from world import SCREENS

AXE = os.path.join(os.path.dirname(axe_playwright_python.__file__), "axe.min.js")
NARROW = 320
# Keys of Tab after which a page must have reached everything that is checked.
MOST_TABS = 400


def violations(visit):
    """What axe finds: for each rule, its help and the first elements that break it."""
    result = visit.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    found = []
    for violation in result["violations"]:
        targets = [" ".join(map(str, node["target"])) for node in violation["nodes"][:3]]
        found.append(f"{violation['id']} ({violation['help']}): {targets}")
    return found


def expect_accessible(visit, where):
    found = violations(visit)
    expect(not found, f"{where}: {'; '.join(found)}")


@check("axe finds no violation on any page, light and dark")
def axe(world):
    for scheme in ("light", "dark"):
        with world.visit(scheme=scheme, script=AXE) as visit:
            for name, path in world.every_page().items():
                visit.open(path)
                expect_accessible(visit, f"{name}, {scheme}")
            visit.open("/no-such-page", status=404)
            expect_accessible(visit, f"a page that does not exist, {scheme}")
        with world.browser.visit(world.pipeline.login, scheme=scheme, script=AXE) as visit:
            visit.open("/login")
            expect_accessible(visit, f"the login, {scheme}")


@check("no page scrolls sideways at a width of 320 px")
def narrow(world):
    with world.visit(width=NARROW, height=700) as visit:
        for name, path in world.every_page().items():
            visit.open(path)
            width = visit.page.evaluate("document.scrollingElement.scrollWidth")
            expect(width <= NARROW, f"{name} is {width} px wide: {widest(visit)}")


def widest(visit):
    """The innermost elements that reach beyond the window."""
    return visit.page.evaluate(
        """width => {
            const text = element => element.textContent.trim().slice(0, 30);
            const name = element => `${element.tagName}.${element.className} ${text(element)}`;
            const isOutside = element => element.getBoundingClientRect().right > width + 1;
            const elements = [...document.querySelectorAll("main *, header *")];
            const inner = elements.filter(element => !element.closest(".table-frame, pre"));
            return inner.filter(isOutside).slice(-3).map(name);
        }""",
        NARROW,
    )


FOCUS = """() => {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    window.focusNumbers ||= new WeakMap();
    window.focusCount ||= 0;
    if (!window.focusNumbers.has(element)) window.focusNumbers.set(element, ++window.focusCount);
    return {
        number: window.focusNumbers.get(element),
        name: `${element.tagName} ${element.id} ${element.textContent.trim().slice(0, 30)}`,
        isInMain: Boolean(element.closest("main")),
        isSkip: element.classList.contains("skip"),
        isVisible: box.width > 0 && box.height > 0 && box.right > 0 && box.left < innerWidth
            && box.bottom > 0 && box.top < innerHeight,
        outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    };
}"""
FOCUSABLE = """() => {
    const kinds = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']";
    const isThere = element => element.checkVisibility({visibilityProperty: true}) && !element.disabled;
    return [...document.querySelectorAll(kinds)].filter(isThere).length;
}"""


def tab(visit, key="Tab"):
    visit.page.keyboard.press(key)
    return visit.page.evaluate(FOCUS)


def walk(visit, where):
    """Presses Tab until the focus returns. Each element must be visible and have a visible focus."""
    seen = {}
    for _ in range(MOST_TABS):
        focus = tab(visit)
        if focus is None or focus["number"] in seen:
            break
        seen[focus["number"]] = focus
        expect(focus["isVisible"], f"{where}: the focus is out of sight on {focus['name']!r}")
        expect(focus["outline"] >= 2, f"{where}: the focus is not visible on {focus['name']!r}")
    return list(seen.values())


@check("by keyboard: the skip link comes first and works, and Tab reaches everything with a visible focus")
def keyboard(world):
    names = ("Events", "Connect", "Proof", "a dead letter", "a dry run", "the plan", "an audit", "a test event")
    pages = world.every_page()
    with world.visit() as visit:
        for name in names:
            visit.open(pages[name])
            visit.wait(lambda: visit.page.locator("#checks[hx-trigger]").count() == 0, "the end of the checks", 60)
            first = tab(visit)
            expect(first["isSkip"] and first["isVisible"], f"{name}: Tab first reaches {first['name']!r}")
            visit.page.keyboard.press("Enter")
            expect_equal(visit.page.evaluate("document.activeElement.id"), "content", f"{name}: after the skip link")
            expect(tab(visit)["isInMain"], f"{name}: the skip link does not lead into the content")
            visit.open(pages[name])
            wanted = visit.page.evaluate(FOCUSABLE)
            reached = walk(visit, name)
            radios = visit.page.locator("input[type=radio]").count()
            expect(len(reached) >= min(wanted, MOST_TABS) - radios, f"{name}: Tab reaches {len(reached)} of {wanted}")


@check("by keyboard: a search, a stop of the live list, and an audit")
def actions_by_keyboard(world):
    with world.visit() as visit:
        visit.open("/events")
        visit.page.locator("#text").focus()
        visit.page.keyboard.type("01NOSUCHEVENT")
        visit.page.keyboard.press("Enter")
        visit.wait_for("h1:has-text('Nothing was found')", 30)
        visit.open("/events")
        visit.page.get_by_role("button", name="Stop").focus()
        visit.page.keyboard.press("Enter")
        expect_equal(visit.page.locator("[data-tail-said]").inner_text(), "Stopped.", "after Enter on Stop")
        visit.open("/proof")
        visit.page.get_by_role("button", name="The last hour").focus()
        visit.page.keyboard.press("Space")
        visit.page.wait_for_url("**/proof/results/*", timeout=60_000)


@check("by keyboard: the focus stays where it is while Overview gets new numbers")
def focus_on_overview(world):
    with world.visit() as visit:
        visit.open("/")
        visit.wait_for("#flow-title")
        visit.page.locator("#station-3").focus()
        shown = visit.page.locator(".headline time").first.get_attribute("datetime")
        visit.wait(
            lambda: visit.page.locator(".headline time").first.get_attribute("datetime") != shown, "new numbers", 12
        )
        expect_equal(visit.page.evaluate("document.activeElement.id"), "station-3", "the focus")


@check("state is never a colour alone, and nothing moves for those who do not want it")
def signs(world):
    with world.visit() as visit:
        visit.page.emulate_media(reduced_motion="reduce")
        for path in SCREENS:
            visit.open(path)
            pills = visit.page.locator(".pill").all_inner_texts()
            expect(all(text.strip() for text in pills), f"{path} has a state that is only a colour")
            moving = visit.page.evaluate(
                """() => [...document.querySelectorAll("*")].filter(element => {
                    const style = getComputedStyle(element);
                    return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
                }).length"""
            )
            expect_equal(moving, 0, f"moving elements of {path} with reduced motion")
