"""What a source says is verified as the person's own: flags of the touchpoint. Whom identity believes is its policy's.

The names are those of OpenID Connect's standard claims (email_verified, phone_number_verified; Core 1.0 §5.1), their
usual short and camel-case forms, and a list under context.verified.
"""

from services.ingest.core.model import FLAG_EMAIL_VERIFIED, FLAG_PHONE_VERIFIED

_TRAITS = {
    "phone_number_verified": FLAG_PHONE_VERIFIED, "phone_verified": FLAG_PHONE_VERIFIED,
    "phoneVerified": FLAG_PHONE_VERIFIED, "phoneNumberVerified": FLAG_PHONE_VERIFIED,
    "email_verified": FLAG_EMAIL_VERIFIED, "emailVerified": FLAG_EMAIL_VERIFIED,
}  # fmt: skip
_LISTED = {"phone": FLAG_PHONE_VERIFIED, "phone_number": FLAG_PHONE_VERIFIED, "email": FLAG_EMAIL_VERIFIED}


def verified_flags(traits: dict[str, object], context: dict[str, object]) -> int:
    """The flags that are stated: true itself or the text "true", as forms send it."""
    found = 0
    if not _TRAITS.keys().isdisjoint(traits):
        for name, flag in _TRAITS.items():
            if traits.get(name) in (True, "true"):
                found |= flag
    listed = context.get("verified")
    if isinstance(listed, list):
        for name in listed:
            found |= _LISTED.get(name, 0) if isinstance(name, str) else 0
    return found
