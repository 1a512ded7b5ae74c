"""E-mail against a real SMTP server, whose parsed messages are looked at."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from services.chassis.testing.waiting import free_port
from services.notify.channels.email import EmailSender, judge_smtp
from services.notify.core.model import Content, Delivery, Result
from tests.unit.notify.notify_builders import email_delivery


class Mailbox:
    """An SMTP handler that keeps messages and can refuse at each stage."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []
        self.at_rcpt = self.at_data = ""
        self.hangs_up = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: object
    ) -> str:
        if self.at_rcpt:
            return self.at_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.hangs_up:
            assert server.transport is not None
            server.transport.close()
        if self.at_data:
            return self.at_data
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return "250 queued as 4711"

    def message(self, index: int = 0) -> EmailMessage:
        found = message_from_bytes(self.raw[index], policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port(mailbox: Mailbox) -> Iterator[int]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller.port
    controller.stop()


def sender(port: int, username: str = "", password: str = "") -> EmailSender:
    return EmailSender("127.0.0.1", port, "Touchstream <hello@shop.example>", username, password, "none", 5.0)


async def test_the_message_has_text_and_html_and_an_id_made_of_the_delivery_id(mailbox: Mailbox, port: int) -> None:
    outcome = await sender(port).send(email_delivery("d1"))
    assert (outcome.result, outcome.provider_id) == (Result.DELIVERED, "queued as 4711")
    assert mailbox.envelopes == [("hello@shop.example", ["lena@example.com"])]
    message = mailbox.message()
    assert message["Message-ID"] == "<d1@shop.example>"
    assert (message["To"], message["Subject"]) == ("lena@example.com", "Hello")
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content().strip(), html.get_content().strip()) == ("Dear Lena", "<p>Dear Lena</p>")


async def test_a_repeat_is_the_same_byte_for_byte(mailbox: Mailbox, port: int) -> None:
    for _ in range(2):
        await sender(port).send(email_delivery("d1"))
    assert mailbox.raw[0] == mailbox.raw[1]


async def test_chinese_arrives_as_it_was_written(mailbox: Mailbox, port: int) -> None:
    content = Content("欢迎加入，李娜", "您好。\n感谢您的注册。", "<p>您好。</p>", language="zh")
    await sender(port).send(email_delivery(content=content))
    message = mailbox.message()
    body = message.get_body(("plain",))
    assert body is not None
    assert message["Subject"] == "欢迎加入，李娜"
    assert body.get_content().split() == ["您好。", "感谢您的注册。"]
    assert message["Content-Language"] == "zh"


@pytest.mark.parametrize("subject", ["Hello\r\nBcc: evil@example.com", "Hello\nX: y", "Hello\x00\x0b\x85Bcc: a"])
async def test_a_subject_cannot_add_a_header(mailbox: Mailbox, port: int, subject: str) -> None:
    await sender(port).send(email_delivery(content=Content(subject, "text")))
    message = mailbox.message()
    assert message["Bcc"] is None
    assert message["X"] is None
    assert message["Subject"].startswith("Hello")


async def test_a_line_with_a_single_dot_does_not_end_the_message(mailbox: Mailbox, port: int) -> None:
    await sender(port).send(email_delivery(content=Content("Hello", "one\n.\ntwo")))
    assert mailbox.message().get_content().split() == ["one", ".", "two"]


@pytest.mark.parametrize(
    ("at_rcpt", "at_data", "result", "error"),
    [
        ("450 mailbox busy lena@example.com", "", Result.TRANSIENT, "SMTP 450"),
        ("550 no such user lena@example.com", "", Result.PERMANENT, "SMTP 550"),
        ("", "451 try later", Result.TRANSIENT, "SMTP 451"),
        ("", "554 spam", Result.PERMANENT, "SMTP 554"),
    ],
)
async def test_a_refusal_is_judged_by_its_code_and_told_without_the_address(
    mailbox: Mailbox, port: int, at_rcpt: str, at_data: str, result: Result, error: str
) -> None:
    mailbox.at_rcpt, mailbox.at_data = at_rcpt, at_data
    outcome = await sender(port).send(email_delivery())
    assert (outcome.result, outcome.error) == (result, error)


async def test_no_server_is_transient_and_a_connection_lost_after_data_is_ambiguous(
    mailbox: Mailbox, port: int
) -> None:
    assert (await sender(free_port()).send(email_delivery())).result is Result.TRANSIENT
    mailbox.hangs_up = True
    assert (await sender(port).send(email_delivery())).result is Result.AMBIGUOUS


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize(("password", "result"), [("right", Result.DELIVERED), ("wrong", Result.TRANSIENT)])
async def test_a_wrong_password_is_the_operators_to_mend_not_the_messages_end(
    mailbox: Mailbox, password: str, result: Result
) -> None:
    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        # handled: the server itself answers 535.
        return AuthResult(success=getattr(data, "password", b"") == b"right", handled=False)

    controller = Controller(
        mailbox, hostname="127.0.0.1", port=free_port(), authenticator=check, auth_required=True, auth_require_tls=False
    )
    controller.start()
    try:
        outcome = await sender(controller.port, "me", password).send(email_delivery())
        assert (outcome.result, outcome.error) == (result, "" if result is Result.DELIVERED else "SMTP 535")
    finally:
        controller.stop()


def test_every_class_of_code_has_its_outcome() -> None:
    found = {code: judge_smtp(code).result for code in (421, 450, 535, 550, 552)}
    assert found == {
        421: Result.TRANSIENT, 450: Result.TRANSIENT, 535: Result.TRANSIENT, 550: Result.PERMANENT,
        552: Result.PERMANENT,
    }  # fmt: skip


def test_a_recipient_that_would_end_the_header_is_never_composed() -> None:
    hostile: Delivery = email_delivery(to="a@b\r\nBcc: evil@example.com")
    with pytest.raises(ValueError, match="linefeed"):
        sender(25).compose(hostile)
