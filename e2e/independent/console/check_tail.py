"""The live list of Events: start, stop, filter, and 5,000 events a minute."""

import threading
import time

import webhooks
from checks import check, expect, expect_equal

MOST_ROWS = 500
A_MINUTE = 5_000
SECONDS = 18
# Of each three events of the load, Platform refuses one: 1,000 dead letters to replay.
EVENTS = 3_000
REFUSED = EVENTS // 3
REFUSED_IDS = "01REFUSED"


def rows(visit):
    return visit.page.locator("[data-tail] tbody tr").count()


def has_row(visit, event_id):
    return visit.page.locator("[data-tail] tbody").get_by_text(event_id, exact=True).count() > 0


@check("Events shows an event when it has ended, stops, and goes on")
def start_and_stop(world):
    first, second, third = (webhooks.event() for _ in range(3))
    with world.visit() as visit:
        visit.open("/events")
        said = visit.page.locator("[data-tail-said]")
        visit.wait(lambda: said.inner_text().startswith("Live"), "the live list", 30)
        expect("sample" in visit.text(), "the page does not say that the list is a sample")
        webhooks.send(world.pipeline.gateway, first)
        visit.wait(lambda: has_row(visit, first["event_id"]), "the row of an event", 30)
        visit.page.get_by_role("button", name="Stop").click()
        expect_equal(said.inner_text(), "Stopped.", "after Stop")
        webhooks.send(world.pipeline.gateway, second)
        visit.wait(lambda: world.pipeline.is_accepted(second["event_id"]), "an accepted event", 30)
        visit.pause(2)
        expect(not has_row(visit, second["event_id"]), "a stopped list got a row")
        visit.page.get_by_role("button", name="Go on").click()
        visit.pause(1)
        webhooks.send(world.pipeline.gateway, third)
        visit.wait(lambda: has_row(visit, third["event_id"]), "a row after Go on", 30)


@check("Events shows only what the filter of its address includes")
def filter_of_the_list(world):
    sms, email = webhooks.event(name="sms_delivered"), webhooks.event(name="email_delivered")
    with world.visit() as visit:
        visit.open("/events")
        visit.page.get_by_label("Channel").select_option("sms")
        visit.page.get_by_role("button", name="Show these").click()
        visit.page.wait_for_url("**/events?*channel=sms*")
        visit.wait(lambda: visit.page.locator("[data-tail-said]").inner_text().startswith("Live"), "the list", 30)
        webhooks.send(world.pipeline.gateway, email, sms)
        visit.wait(lambda: has_row(visit, sms["event_id"]), "the row of the SMS", 30)
        expect(not has_row(visit, email["event_id"]), "the filter lets another channel pass")


def body_of_the_load(number):
    prefix = REFUSED_IDS if number % 3 == 1 else "01LOAD"
    name = ("email_opened", "email_clicked", "push_sent", "sms_delivered")[number % 4]
    return webhooks.event(f"{prefix}{number:06}", name)


class Load(threading.Thread):
    """Sends 5,000 events a minute for some seconds, and the others at once."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway = gateway
        self.problem = None
        self.paced = A_MINUTE * SECONDS // 60
        self.late = 0.0

    def run(self):
        try:
            bodies = [body_of_the_load(number) for number in range(EVENTS)]
            with webhooks.sender(self.gateway) as sender:
                begun = time.monotonic()
                for number, body in enumerate(bodies[: self.paced]):
                    due = begun + number * 60 / A_MINUTE
                    time.sleep(max(0, due - time.monotonic()))
                    sender.send(body)
                self.late = time.monotonic() - due
            webhooks.send_at_once(self.gateway, bodies[self.paced :])
        except Exception as problem:  # It is raised again in the thread of the checks.
            self.problem = problem


# Time in which a page must respond to a person (milliseconds): how late its own timers are.
RESPONDS_MS = 1000
LATENESS = """() => new Promise(done => {
    const then = performance.now();
    setTimeout(() => done(performance.now() - then), 0);
})"""


@check("with 5,000 events a minute, the open list keeps at most 500 rows, and the page responds")
def load(world):
    with world.visit() as visit, world.pipeline.refusing(REFUSED_IDS):
        visit.open("/events")
        visit.wait(lambda: visit.page.locator("[data-tail-said]").inner_text().startswith("Live"), "the list", 30)
        begun, sending = world.pipeline.events_accepted(), Load(world.pipeline.gateway)
        sending.start()
        most, late = 0, []
        while sending.is_alive():
            most = max(most, rows(visit))
            late.append(visit.page.evaluate(LATENESS))
            visit.pause(0.5)
        slowest = max(late)
        if sending.problem:
            raise sending.problem
        accepted = EVENTS - REFUSED
        visit.wait(lambda: world.pipeline.events_accepted() - begun >= accepted, "all events of the load accepted", 60)
        visit.wait(lambda: rows(visit) == MOST_ROWS, "a full list", 20)
        expect(most <= MOST_ROWS, f"the list had {most} rows")
        expect(slowest < RESPONDS_MS, f"the page did not respond for {slowest:.0f} ms")
        expect(sending.late < 5, f"the load was not sent at its rate: {sending.late:.1f} s late")
        visit.page.get_by_role("button", name="Stop").click()
        expect_equal(rows(visit), MOST_ROWS, "rows after Stop")
