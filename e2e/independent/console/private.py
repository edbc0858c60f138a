"""Events full of the data of one invented person, and the search for this person in a text."""

import html
import json
import urllib.parse

import webhooks

NAME = "Zebulon Quagmire"
ADDRESS = "Zebulon.Quagmire@private.example"
PHONE = "+4915198765432"
STREET = "Wistaria Drive 4, Little Whinging"
PERSON_ID = "person-zq-77"
CIO_ID = "c0ffee5a5a77"
DEVICE = "device-zq-77"
LINK = f"https://shop.example.com/order?email={ADDRESS}&token=secret-zq-77"

# Parts that no page of a viewer may contain, in lower case.
PARTS = (
    "zebulon",
    "quagmire",
    "4915198765432",
    "wistaria",
    "whinging",
    PERSON_ID,
    CIO_ID,
    "zq-77",
)

# Texts that every role may read: ids of messages, metrics, codes.
READABLE = (
    "event_id",
    "metric",
    "object_type",
    "object_type_type",
    "data.delivery_id",
    "data.journey_id",
    "data.trigger_event_id",
    "data.inbound_event_id",
    "data.recipients[].device_platform",
)
VALUES = {
    "data.customer_id": PERSON_ID,
    "data.identifiers.id": PERSON_ID,
    "data.identifiers.email": ADDRESS,
    "data.identifiers.cio_id": CIO_ID,
    "data.email_address": ADDRESS,
    "data.to": PHONE,
    "data.href": LINK,
    "data.recipients[].device_id": DEVICE,
    "data.content": f"<p>Dear {NAME} of {STREET}, your number is {PHONE}</p>",
}


def found_in(text):
    """The parts of the person's data that a text has, also if they are escaped for HTML or for an address."""
    forms = {text, html.unescape(text), urllib.parse.unquote(text), urllib.parse.unquote_plus(html.unescape(text))}
    return sorted({part for form in forms for part in PARTS if part in form.lower()})


def value(body):
    """Replaces the texts of a webhook. A recipient is an address or a number, as the channel has it."""
    is_phone = body.get("object_type") in ("sms", "whatsapp")

    def replace(path, text):
        if path in READABLE:
            return text
        if path == "data.recipient":
            return PHONE if is_phone else ADDRESS
        return VALUES.get(path, f"{NAME}, {ADDRESS}, {PHONE}: {text}")

    return webhooks.with_every_text(body, replace)


def event(name, event_id, **changes):
    """The webhook of a golden file about this person, with fields that the mapping does not know."""
    body = value(webhooks.golden(name)) | {"event_id": event_id, "first_name": NAME}
    if isinstance(body.get("data"), dict):
        body["data"] |= {
            "address": STREET,
            "phone_number": int(PHONE[1:]),
            "profile": {"name": NAME, "contacts": [ADDRESS, {"phone": PHONE}]},
            ADDRESS: "an address as a name",
            "link": f"https://shop.example.com/{urllib.parse.quote(ADDRESS)}/orders",
        }
    return body | changes


def accepted():
    """An event of each kind."""
    return [event(name, f"01PRIVATE{number:04}") for number, name in enumerate(webhooks.golden_names())]


def with_private_ids():
    """Some senders use an address as an id, or names that are no codes."""
    return [
        event("email_opened", ADDRESS),
        event("email_opened", f"{NAME} 1"),
        event("email_opened", "01PRIVATEMETRIC", metric=ADDRESS),
        event("email_opened", "01PRIVATETYPE", object_type=f"{NAME} {PHONE}"),
        event("email_opened", "01PRIVATECODES", data=dict.fromkeys(CODES, ADDRESS) | {"identifiers": {"id": "7"}}),
    ]


CODES = ("delivery_id", "campaign_id", "action_id", "journey_id", "link_id", "trigger_event_id", "content_id")


def dead_letters():
    """Webhooks that become dead letters, each for another reason."""
    whole = json.dumps(event("email_clicked", "01PRIVATEBROKEN"))
    return [
        whole[:-20],
        f"{NAME} <{ADDRESS}> {PHONE}",
        event("email_clicked", "01PRIVATEDEAD1", timestamp="soon"),
        event("sms_bounced", "01PRIVATEDEAD2", metric=None),
        event("sms_bounced", None),
        event("email_clicked", "01PRIVATEDEAD3", data=f"{NAME}, {ADDRESS}"),
        event("email_clicked", "01PRIVATEDEAD4", timestamp=ADDRESS),
        event("email_clicked", ADDRESS, timestamp=PHONE),
    ]
