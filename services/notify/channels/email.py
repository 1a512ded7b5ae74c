"""E-mail over SMTP. The Message-ID comes from the delivery id, so a second copy is recognisable as the same message."""

import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY_8BIT
from email.utils import format_datetime, parseaddr

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from services.notify.core.model import Delivery, Outcome, Result

# Not every server that Chinese text passes through announces 8BITMIME.
SMTP_POLICY = SMTP_POLICY_8BIT.clone(cte_type="7bit")
# The server refuses us, not the message (bad password, submission not allowed): an operator can mend it.
SERVER_FAULTS = {530, 534, 535, 538}


class EmailSender:
    """One SMTP session per message: providers close idle ones, and a session's state is what goes wrong."""

    def __init__(
        self, host: str, port: int, sender: str, username: str, password: str, security: str, timeout_s: float
    ) -> None:  # fmt: skip
        """sender: `Name <local@domain>`; security: none, starttls or tls."""
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._username, self._password = username, password
        self._security = security
        self._sender = sender
        self._envelope_from = parseaddr(sender)[1]
        self._domain = self._envelope_from.rpartition("@")[2]

    def compose(self, delivery: Delivery) -> EmailMessage:
        """The message, byte for byte the same on every attempt (also Date and the boundary)."""
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = self._sender
        message["To"] = delivery.to
        # Rendering made one line of it; a control character that is left would still end the header.
        message["Subject"] = "".join(c for c in delivery.content.subject if c.isprintable())
        message["Date"] = format_datetime(datetime.fromtimestamp(delivery.created_at // 1_000, UTC))
        message["Message-ID"] = f"<{delivery.delivery_id}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(delivery.content.text)
        if delivery.content.html:
            message.add_alternative(delivery.content.html, subtype="html")
            message.set_boundary(f"=={delivery.delivery_id}==")
        if delivery.content.language:  # last: the library moves earlier Content-… headers into the first part
            message["Content-Language"] = delivery.content.language
        return message

    async def send(self, delivery: Delivery) -> Outcome:
        """4xx transient, 5xx permanent, no connection transient; a connection lost after DATA began is ambiguous."""
        raw = self.compose(delivery).as_bytes()
        client = aiosmtplib.SMTP(
            hostname=self._host, port=self._port, timeout=self._timeout_s, use_tls=self._security == "tls",
            start_tls=self._security == "starttls",
            tls_context=ssl.create_default_context() if self._security != "none" else None,
        )  # fmt: skip
        is_data_begun = False
        try:
            await client.connect()
            if self._username:
                await client.login(self._username, self._password)
            await client.mail(self._envelope_from)
            await client.rcpt(delivery.to)
            is_data_begun = True
            answer = await client.data(raw)
        except SMTPResponseException as error:
            return judge_smtp(error.code)
        except (SMTPException, OSError) as error:
            result = Result.AMBIGUOUS if is_data_begun else Result.TRANSIENT
            return Outcome(result, type(error).__name__)
        finally:
            client.close()
        return Outcome(Result.DELIVERED, provider_id=answer.message[:200])

    async def close(self) -> None:
        """Nothing is kept open."""


def judge_smtp(code: int) -> Outcome:
    """An SMTP refusal as an outcome (RFC 5321 §4.2.1); the text is left out, it repeats the address."""
    is_permanent = 500 <= code < 600 and code not in SERVER_FAULTS
    return Outcome(Result.PERMANENT if is_permanent else Result.TRANSIENT, f"SMTP {code}")
