"""Everything else (DingTalk, Feishu, Slack, SMS gateways …) through the Apprise library, one service address each."""

import logging
import re

import apprise
from apprise.result import AppriseResult, AppriseResultStatus

from services.notify.channels.base import judge_http
from services.notify.core.model import Delivery, Outcome, Result

# Apprise tells only yes or no; what happened stands in its log lines. They also hold the message, so they are captured
# per call and never reach the process's log.
_logger = logging.getLogger("apprise")
_HTTP_ERROR = re.compile(r"error=(\d{3})\b")
_NEVER_CONNECTED = ("Failed to establish a new connection", "Failed to resolve", "ConnectTimeoutError", "SSLError")


class AppriseSender:
    """Sends subject and text. The services behind it know no message id: what may have arrived is not sent again."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises ValueError for an address that Apprise cannot read."""
        _logger.setLevel(logging.DEBUG)
        _logger.propagate = False
        self._apprise = apprise.Apprise()
        self._timeout_s = timeout_s
        if not self._apprise.add(url):
            raise ValueError("not an address that Apprise can read")

    async def send(self, delivery: Delivery) -> Outcome:
        """Success delivered; a refusal as its HTTP status says; a connection lost on the way ambiguous."""
        result = await self._apprise.async_notify(
            body=delivery.content.text,
            title=delivery.content.subject,
            timeout=self._timeout_s,
            log_level=logging.DEBUG,
        )
        try:
            return judge_result(result.status, _lines(result))
        finally:
            result.close()

    async def close(self) -> None:
        """Apprise keeps nothing open."""


def _lines(result: AppriseResult) -> list[str]:
    return [str(line.message) for service in result.results for attempt in service.attempts for line in attempt.logs]


def judge_result(status: AppriseResultStatus, lines: list[str]) -> Outcome:
    """Apprise's verdict and what it logged, as an outcome."""
    if status is AppriseResultStatus.SUCCESS:
        return Outcome(Result.DELIVERED)
    if status is AppriseResultStatus.NOMATCH:
        return Outcome(Result.TRANSIENT, "no service behind this address")
    if status is not AppriseResultStatus.FAILURE:  # a time-out, or some of several targets reached
        return Outcome(Result.AMBIGUOUS, f"Apprise: {status.name.lower()}")
    text = "\n".join(lines)
    if "Socket Exception" in text:
        is_unsent = any(mark in text for mark in _NEVER_CONNECTED)
        return Outcome(Result.TRANSIENT if is_unsent else Result.AMBIGUOUS, "Apprise: connection failed")
    refused = _HTTP_ERROR.search(text)
    if refused and int(refused[1]) >= 300:
        return judge_http(int(refused[1]), None, 0)
    return Outcome(Result.TRANSIENT, "Apprise: the service did not take it")
