"""What can be wrong with a touchpoint: one table of codes that the code, the API document and the docs page share."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One rule that one field broke. `field` is a path such as traits.phone, empty for the whole event."""

    code: str
    field: str
    message: str

    def text(self) -> str:
        """code|field|message, the form that records keep; the message is last because it may hold the separator."""
        return f"{self.code}|{self.field}|{self.message}"


# An event with one of these is refused.
REFUSALS: dict[str, str] = {
    "json_malformed": "the body (or one event of it) is JSON in UTF-8 that can be read",
    "not_an_object": "an event, and its properties, traits and context, are JSON objects",
    "batch_missing": 'a batch is {"batch": [...]}; import also takes a JSON array or JSON lines',
    "too_many_events": "a body holds at most the number of events that is set",
    "body_too_large": "a body has at most the size limit of its endpoint, before and after gzip",
    "event_too_large": "an event has at most 32 KB",
    "encoding_unsupported": "a body is plain or gzip",
    "type_unknown": "type is one of identify, track, page, screen, group, alias",
    "type_not_allowed": "the write key may send this type",
    "event_missing": "a track call names its event: text of 1 to 200 characters",
    "message_id_invalid": "messageId, where given, is text of 1 to 128 characters, none of them U+FFFD (a lost one)",
    "identifier_missing": "at least one usable identifier",
    "alias_incomplete": "an alias names previousId and userId (or anonymousId), two different ones",
    "field_missing": "fields that the source's rules require are there and not empty",
    "amount_invalid": "an amount is a number or decimal text, not negative, and fits into 64 bits of minor units",
    "currency_unknown": "a currency is an ISO 4217 code",
    "time_invalid": "a time is ISO 8601 text or seconds or milliseconds since 1970",
}

# An event with one of these is taken. The value is left out, clamped or not used to identify, and kept in `originals`.
# A source whose rules say `invalid: refuse` turns them into refusals.
REMARKS: dict[str, str] = {
    "identifier_placeholder": "a placeholder (null, undefined, 0, all zeros ...) identifies nobody",
    "identifier_invalid": "an identifier is text or a whole number, at most 256 characters, none control or U+FFFD",
    "scope_missing": "openid needs app_id, external_userid needs corp_id (in the message or as the source's default)",
    "phone_invalid": "a phone number is valid in the numbering plan of its country",
    "phone_not_mobile": "only a mobile number identifies a person",
    "email_invalid": "an e-mail address has the syntax of RFC 5322 and a domain that can receive mail",
    "resident_id_invalid": "a resident identity card number has 18 characters and the checksum of GB 11643",
    "time_implausible": "a time lies between 2000 and 24 hours ahead; otherwise the time of receipt is used",
    "amount_negative_refund": "the amount of a refund is positive; the sign was dropped",
}

CODES: dict[str, str] = REFUSALS | REMARKS
