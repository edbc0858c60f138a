"""Proof: an audit as a job, its result with every row explained, its JSON, and the history."""

import json

from checks import check, expect, expect_equal


@check("an audit of everything explains every record after the replay, row by row")
def audit(world):
    with world.visit() as visit:
        visit.open("/proof")
        visit.page.get_by_role("button", name="Everything retained").click()
        visit.page.wait_for_url("**/proof/results/*", timeout=60_000)
        world.remember("an audit", visit)
        expect_equal(visit.heading(), "Everything is explained", "the result of the audit")
        world.picture(visit, "console-proof")
        rows = visit.page.locator("table.audit tbody tr")
        expect(rows.count() > 10, f"the result has {rows.count()} rows")
        for row in rows.all():
            cells = row.locator("th, td").all_inner_texts()
            expect(len(cells) == 3 and all(cells), f"a row without an explanation: {cells}")
        expect_equal(visit.page.locator(".breach").count(), 0, "breaches")
        expect(visit.page.get_by_role("button", name="Print").is_visible(), "the result cannot be printed")


@check("the JSON of an audit is downloaded, and says the same as its page")
def as_json(world):
    with world.visit() as visit:
        visit.open(world.pages["an audit"])
        with visit.page.expect_download() as download:
            visit.page.get_by_role("link", name="Download as JSON").click()
        result = json.load(open(download.value.path()))
        expect(download.value.suggested_filename.startswith("audit-"), download.value.suggested_filename)
        expect_equal((result["version"], result["explained"], result["findings"]), (1, True, []), "the JSON")
        visit.expect_text(f"{result['recordsRead']:,} records read")


@check("finished audits are listed, the range can be typed, and a range that cannot be read is refused")
def history(world):
    with world.visit() as visit:
        visit.open("/proof")
        expect(visit.page.locator("[aria-labelledby=ended-title] tbody tr").count() >= 1, "no finished audit")
        visit.page.get_by_label("From").fill("1h")
        visit.page.get_by_role("button", name="Start the audit").click()
        visit.page.wait_for_url("**/proof/results/*", timeout=60_000)
        visit.open("/proof")
        visit.page.get_by_label("From").fill("the day before")
        visit.page.get_by_role("button", name="Start the audit").click()
        visit.wait_for("h1:has-text('This cannot be used')")


@check("the page to print has neither navigation nor buttons")
def printed(world):
    with world.visit() as visit:
        visit.open(world.pages["an audit"])
        visit.page.emulate_media(media="print")
        for selector in ("header.top", "footer.bottom", ".no-print"):
            expect(visit.page.locator(selector).first.is_hidden(), f"{selector} is printed")
        expect(visit.page.locator("table.audit").first.is_visible(), "the table is not printed")
