"""Addresses as people may see them: in records, logs and the sink."""

import re

# Deliberately narrow: one mailbox, no display name, no quoting, nothing that could end a header or an SMTP command.
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}")


def is_mailbox(address: str) -> bool:
    """True for a plain `local@domain` that is safe in a header and in RCPT TO."""
    return len(address) <= 254 and _MAILBOX.fullmatch(address) is not None


def mask_mailbox(address: str) -> str:
    """`lena@example.com` → `l***@example.com`."""
    local, _, domain = address.partition("@")
    return f"{local[:1]}***@{domain}"
