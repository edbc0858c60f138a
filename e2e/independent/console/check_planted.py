"""Faults that are planted into the responses of the console, to show that the checks find them."""

import html

import hostile
import private
from checks import check, expect
from check_privacy import read


def plant(visit, path, change, policy=True):
    """Changes the HTML of a page on its way to the browser; without `policy`, also removes the content policy."""

    def alter(route):
        response = route.fetch()
        headers = dict(response.headers)
        if not policy:
            headers.pop("content-security-policy")
        route.fulfill(response=response, headers=headers, body=change(response.text()))

    visit.page.route(f"**{path}", alter)


def before_end(text):
    return lambda page: page.replace("</main>", f"{text}</main>")


@check("planted: an address, a name or a number in a viewer's page is found, also if it is escaped")
def masking(world):
    for text in (
        f'<input type="hidden" value="{private.ADDRESS.upper()}">',
        f"<!-- {private.NAME} -->",
        f'<a href="/events?source={private.ADDRESS.replace("@", "%40")}">x</a>',
        "".join(f"&#{ord(character)};" for character in private.NAME),
        f"<td>{private.PHONE}</td>",
    ):
        with world.visit_as("viewer") as visit:
            plant(visit, "/proof", before_end(text))
            expect(private.found_in(read(visit, "/proof")[-1]), f"{text} is not found on a page")


@check("planted: content of an event that is not escaped is found, with and without the content policy")
def not_escaped(world):
    for policy in (True, False):
        with world.visit(watch=False) as visit:
            plant(visit, "/proof", before_end(hostile.MARKUP + html.escape(hostile.SCRIPT)), policy)
            visit.open("/proof")
            visit.pause(0.5)
            executed = hostile.executed(visit)
            expect(any("data-hostile" in found for found in executed), f"the element is not found: {executed}")
            sign = "the policy refused" if policy else "a dialog"
            expect(any(problem.startswith(sign) for problem in visit.problems), f"{sign}: not in {visit.problems}")
            expect(policy or "a script has run" in executed, "the script has run, and is not found")
            expect(not policy or "a script has run" not in executed, "the content policy lets a script run")


@check("planted: a request to another origin is found, with and without the content policy")
def other_origin(world):
    for policy in (True, False):
        for text in ('<img src="http://127.0.0.2:9/x.png">', '<script src="http://localhost:9/x.js"></script>'):
            with world.visit(watch=False) as visit:
                plant(visit, "/proof", before_end(text), policy)
                visit.open("/proof")
                visit.pause(0.5)
                signs = ("the policy refused",) if policy else ("a request to another origin",)
                expect(any(problem.startswith(signs) for problem in visit.problems), f"{text}: {visit.problems}")
