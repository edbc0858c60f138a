"""Connect: the checks, the plan, applying it, the webhook, and the test sender."""

from checks import check, expect


def checked(visit):
    """Opens Connect, and waits until the checks have ended."""
    visit.open("/connect")
    visit.wait(lambda: visit.page.locator("#checks[hx-trigger]").count() == 0, "the end of the checks", 60)


@check("Connect fills up with the checks by account; each finding names who can do something about it")
def checks_of_accounts(world):
    with world.visit() as visit:
        checked(visit)
        parts = visit.page.locator("#checks .spread h2").all_inner_texts()
        for part in ("Kafka", "Platform", "Customer.io"):
            expect(any(part in found for found in parts), f"there is no part {part}: {parts}")
        expect(visit.page.locator(".findings li").count() > 8, "there are hardly any findings")
        for row in visit.page.locator(".findings li:has(.pill-bad)").all():
            expect(row.locator(".next strong").count() == 1, f"a finding without a next step: {row.inner_text()!r}")
        visit.page.get_by_role("button", name="Check again").click()
        visit.wait(lambda: visit.page.locator("#checks[hx-trigger]").count() == 0, "the end of the checks", 60)


@check("a test event is looked at, sent signed, and followed to Platform")
def test_sender(world):
    with world.visit() as visit:
        visit.open("/connect/plan")
        world.remember("the plan", visit)
        visit.page.get_by_label("Test event").first.select_option("sms_delivered")
        visit.page.get_by_role("button", name="Look at the body").first.click()
        visit.wait_for("#body-title")
        world.remember("a test event", visit)
        visit.expect_text('"metric": "delivered"', "customerio-aep-test", world.pipeline.gateway)
        visit.page.get_by_role("button", name="Send it, and follow it").click()
        visit.page.wait_for_url("**/events/event?id=customerio-aep-test-*")
        visit.wait_for("h1:has-text('Accepted')", 60)


@check("the plan is a difference; an operator applies it by screen, with progress, and then nothing is left to do")
def apply(world):
    with world.visit_as("operator") as visit:
        visit.open("/connect/plan")
        signs = visit.page.locator("[aria-labelledby=objects-title] tbody .pill").all_inner_texts()
        expect(signs and any("create" in sign for sign in signs), f"the plan of an empty sandbox: {signs}")
        visit.page.get_by_role("button", name="Apply this plan").click()
        visit.page.wait_for_url("**/connect/progress")
        visit.wait(lambda: visit.page.locator("#progress[hx-trigger]").count() == 0, "the end of the change", 60)
        expect(visit.page.locator(".notice-bad").count() == 0, f"the change failed: {visit.text()!r}")
        visit.expect_text("Changed")
        visit.open("/connect/plan")
        visit.expect_text("There is nothing to apply")


@check("an operator pauses and enables the webhook; a pause says what it loses and asks for the source's name")
def webhook(world):
    with world.visit_as("operator") as visit:
        visit.open("/connect/plan")
        state = visit.page.locator("[aria-labelledby=webhooks-title] .card .pill")
        enabled = state.inner_text()
        visit.page.locator("summary", has_text="Pause").click()
        visit.expect_text("they are lost for Platform")
        for source in ("another", "default"):
            visit.open("/connect/plan")
            visit.page.locator("summary", has_text="Pause").click()
            visit.page.get_by_label("Type the name of the source").fill(source)
            visit.page.get_by_role("button", name="Pause the webhook").click()
            visit.page.wait_for_load_state("load")
            expect(source == "default" or "type the name" in visit.text(), "a wrong name pauses the webhook")
        visit.wait_for("#webhooks-title")
        expect(state.inner_text() != enabled, f"the webhook is still {enabled}")
        visit.page.get_by_role("button", name="Enable the webhook").click()
        visit.wait(lambda: visit.page.url.endswith("/connect/plan") and state.inner_text() == enabled, "enabled", 30)
