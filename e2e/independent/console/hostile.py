"""Events with hostile content in every field, and what shows that some of it was executed."""

import json

import webhooks

# Each element that one of these texts would make has the attribute `data-hostile`, and each script sets `hostileRan`.
MARKUP = '<img data-hostile src=x onerror="window.hostileRan=1;alert(1)">'
SCRIPT = '"></textarea></script><script data-hostile>window.hostileRan=1;alert(document.domain)</script>'
QUOTES = "' onmouseover='window.hostileRan=1' data-hostile='\" autofocus onfocus=\"window.hostileRan=1"
HTMX = '<div data-hostile hx-get="/jobs/stop" hx-trigger="load" hx-on::load="window.hostileRan=1"></div>'
LINK = "javascript:window.hostileRan=1//https://shop.example.com/?<b data-hostile>"
SVG = "<svg data-hostile onload=window.hostileRan=1><animate onbegin=alert(1) attributeName=x dur=1s>"
TEMPLATE = "{{7*7}}${7*7}<%= 7*7 %>&lt;b data-hostile&gt;&#x3c;b data-hostile&#x3e;"
DIRECTIONS = "safe\u202e\u2066\u202atxt.exe\u2069\u200f\u0000\ufeff\r\ndata: <b data-hostile>"
TEXTS = (MARKUP, SCRIPT, QUOTES, HTMX, LINK, SVG, TEMPLATE, DIRECTIONS)
LARGE = 1_000_000
# Fields that decide how an event is mapped. They are hostile in events of their own.
STRUCTURE = ("event_id", "metric", "object_type", "object_type_type")
NAMES = ("email_clicked", "sms_replied", "customer_subscription_preferences_changed", "push_bounced")


def everywhere(name, event_id, text):
    """A webhook with this text in every field, and as the name of unknown fields."""
    body = webhooks.golden(name)
    body = webhooks.with_every_text(body, lambda path, old: old if path in STRUCTURE else text)
    body["data"] |= {"campaign_id": text, "unknown": {text: [text, {text: text}]}, text: text}
    return body | {"event_id": event_id, text: text}


def events():
    """Webhooks whose pages can be opened by their ids."""
    bodies = [
        everywhere(NAMES[number % len(NAMES)], f"01HOSTILE{number:02}", text) for number, text in enumerate(TEXTS)
    ]
    large = webhooks.event("01HOSTILELARGE", "email_clicked")
    large["data"]["subject"] = MARKUP + "A" * LARGE
    many = webhooks.event("01HOSTILEMANY", "email_clicked")
    many["data"] |= {f"{MARKUP}{number}": MARKUP for number in range(4_000)}
    deep = webhooks.event("01HOSTILEDEEP", "email_clicked")
    for _ in range(90):
        deep["data"] = {"data": deep["data"], MARKUP: MARKUP}
    return [*bodies, large, many, deep]


def without_a_page():
    """Webhooks with hostile ids, metrics and channels."""
    bodies = []
    for text in TEXTS:
        bodies += [
            webhooks.event(text),
            webhooks.event(None, metric=text),
            webhooks.event(None, object_type=text),
            webhooks.event(None, source=text, identifiers=text),
        ]
    return bodies


def dead_letters():
    """Webhooks that become dead letters with hostile content."""
    bodies = []
    for number, text in enumerate(TEXTS):
        bodies.append(f"{text} is not JSON")
        bodies.append(everywhere("email_clicked", f"01HOSTILEDEAD{number}", text) | {"timestamp": text})
    large = everywhere("email_clicked", "01HOSTILEDEADLARGE", MARKUP) | {"timestamp": MARKUP + "A" * LARGE}
    return [*bodies, json.dumps(large), MARKUP + "B" * LARGE]


def executed(visit):
    """What of the hostile content the page has executed, or has made an element of."""
    return visit.page.evaluate(
        """() => {
            const found = [...document.querySelectorAll("[data-hostile], main b, main svg:not(.spark), main [onload]")];
            const elements = found.map(element => element.outerHTML.slice(0, 100));
            const links = [...document.querySelectorAll("a[href], form[action]")]
                .map(element => element.getAttribute("href") || element.getAttribute("action"))
                .filter(link => !/^[/#]/.test(link) || link.startsWith("//"));
            return [...elements, ...links, ...(window.hostileRan ? ["a script has run"] : [])];
        }"""
    )
