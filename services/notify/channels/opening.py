"""From a destination of the file to its sender."""

from collections.abc import Callable

from services.chassis.errors import Fatal
from services.notify.adapters.destinations import (
    AppriseConfig,
    Config,
    Destination,
    EmailConfig,
    WebhookConfig,
    WecomConfig,
)
from services.notify.channels.base import Sender
from services.notify.channels.email import EmailSender
from services.notify.channels.sink import SinkSender, SinkStore
from services.notify.channels.webhook import WebhookSender
from services.notify.channels.wecom import WecomSender


def open_sender(destination: Destination, sink: SinkStore, clock: Callable[[], int]) -> Sender:
    """The sender of a destination; nothing is connected yet. Raises Fatal when the configuration cannot be used."""
    if destination.is_sink:
        return SinkSender(sink)
    try:
        return _open(destination.config, sink, clock)
    except ValueError as error:
        raise Fatal(f"destination {destination.name}: {error}") from error


def _open(config: Config, sink: SinkStore, clock: Callable[[], int]) -> Sender:
    if isinstance(config, WebhookConfig):
        return WebhookSender(config.url, config.secret.get_secret_value(), config.timeout_s, config.concurrency, clock)
    if isinstance(config, EmailConfig):
        return EmailSender(
            config.host, config.port, config.sender, config.username, config.password.get_secret_value(),
            config.security, config.timeout_s,
        )  # fmt: skip
    if isinstance(config, WecomConfig):
        return WecomSender(config.url.get_secret_value(), config.kind, config.timeout_s, clock)
    if isinstance(config, AppriseConfig):
        # Here, not above: importing Apprise takes a quarter of the start-up time of a process that may not need it.
        from services.notify.channels.apprise import AppriseSender

        return AppriseSender(config.url.get_secret_value(), config.timeout_s)
    return SinkSender(sink)
