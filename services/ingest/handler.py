"""What happens to a request, in order: key, room, body, decisions, Kafka, answer. The only place that knows the order.

A 200 is sent after the broker acknowledged every record of the request, accepted and refused ones alike; whatever goes
wrong before that ends in a status that makes SDKs send again.
"""

import asyncio
import time

from services.chassis.clock import Clock
from services.chassis.errors import Fatal
from services.chassis.failpoints import fp_async
from services.ingest.adapters import NotStored, Outgoing, Publisher
from services.ingest.core.envelope import Body, Message, decode_message
from services.ingest.core.keys import Keyring, key_of_header
from services.ingest.core.limits import Bucket, Budget
from services.ingest.core.model import Accepted, Arrival, Refused
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.ingest.encode import Encoder, id_maker, whole_body
from services.ingest.endpoints import Limit
from services.ingest.intake import RETRY_AFTER_S, Hold, Refusal, read_body, split_body
from services.ingest.metrics import IN_FLIGHT_BYTES, count_request, count_verdicts
from services.ingest.requests import Call
from services.ingest.settings import IngestSettings
from services.ingest.verdicts import Answer, Verdict, answer_batch, answer_error, answer_one

# Decisions take the event loop for about 12 µs each; other requests get their turn after this many (2.5 ms).
EVENTS_PER_TURN = 200


class Collector:
    """Handles requests of all endpoints. One event loop."""

    def __init__(
        self, settings: IngestSettings, keyring: Keyring, publisher: Publisher, encoder: Encoder, clock: Clock
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._publisher = publisher
        self._encoder = encoder
        self._clock = clock
        self._budget = Budget(settings.max_in_flight_bytes)
        self._buckets: dict[str, Bucket] = {}
        # Set when the broker's topics were found as expected, and again when the process is about to stop.
        self.refusal: str | None = "starting"
        IN_FLIGHT_BYTES.set_function(lambda: self._budget.used_bytes)

    async def handle(self, call: Call) -> Answer:
        """The answer to a request. Raises only what is a fault of ours: counted here, a 500 to the sender."""
        began = time.perf_counter()
        hold = Hold(self._budget)
        try:
            answer = await self._collect(call, hold)
        except Refusal as refusal:
            hold.release()
            answer = refusal.answer
        except BaseException as error:
            hold.release()
            if isinstance(error, Exception):
                count_request(call.endpoint.path, 500, time.perf_counter() - began)
            raise
        count_request(call.endpoint.path, answer.status, time.perf_counter() - began)
        return answer

    async def _collect(self, call: Call, hold: Hold) -> Answer:
        if self.refusal:
            raise Refusal(answer_error(503, self.refusal, retry_s=RETRY_AFTER_S))
        await fp_async("before_body")
        source = self._source_of_head(call)
        received_at = self._clock()
        try:
            raw = await read_body(call, self._settings, hold)
            await fp_async("after_body")
            body = split_body(call, raw, self._settings, hold)
            source = source or self._source_of_body(body)
            self._limit_rate(source, len(body.events))
        except Refusal as refusal:
            if refusal.problems and source:
                await self._keep_whole(call, source, received_at, refusal, hold)
            raise
        verdicts, messages = await self._decide(call, source, body, received_at)
        if messages:
            await self._publish(messages, hold)
        hold.release()
        count_verdicts(source.name, verdicts)
        if call.endpoint.type:
            return answer_one(verdicts[0])
        return answer_batch(verdicts, lists_accepted=call.endpoint.limit is not Limit.IMPORT)

    def _source_of_head(self, call: Call) -> Source | None:
        key = key_of_header(call.authorization) if call.authorization else call.query_key
        if key is None and call.endpoint.limit is Limit.IMPORT:
            # Only browsers need a key in the body, and they do not import: 10 MB are not read for a stranger.
            raise Refusal(answer_error(401, "write_key_missing", "an import needs its write key in the head"))
        return None if key is None else self._source(key)

    def _source_of_body(self, body: Body) -> Source:
        """The write key as browser SDKs send it: in the body, or in each message of a batch."""
        key = body.write_key
        if key is None and body.events:
            first = decode_message(body.events[0])
            key = first.write_key if isinstance(first, Message) else None
        if key is None:
            raise Refusal(answer_error(401, "write_key_missing"))
        return self._source(key)

    def _source(self, key: object) -> Source:
        source = self._keyring.source_of(key, self._clock())
        if source is None:
            raise Refusal(answer_error(401, "write_key_unknown"))
        return source

    def _limit_rate(self, source: Source, events: int) -> None:
        if not source.events_per_s:
            return
        now_ms = self._clock()
        bucket = self._buckets.get(source.key)
        if bucket is None:
            bucket = Bucket(source.events_per_s, source.burst_events, source.burst_events, now_ms)
            self._buckets[source.key] = bucket
        wait_ms = bucket.take(events, now_ms)
        if wait_ms:
            raise Refusal(answer_error(429, "rate_limited", retry_s=-(-wait_ms // 1000)))

    async def _decide(
        self, call: Call, source: Source, body: Body, received_at: int
    ) -> tuple[list[Verdict], list[Outgoing]]:
        """A verdict and a record for each event."""
        is_import = call.endpoint.limit is Limit.IMPORT
        arrival = Arrival(
            source, received_at, call.endpoint.type, is_import, body.sent_at, body.context, call.endpoint.has_clock
        )
        limit, encoder = self._settings.max_event_bytes, self._encoder
        verdicts: list[Verdict] = []
        messages: list[Outgoing] = []
        new_id = id_maker(received_at)
        for place, raw in enumerate(body.events, 1):
            verdict = judge(raw, arrival, new_id, limit)
            verdicts.append(verdict)
            if isinstance(verdict, Accepted):
                messages.append(encoder.touchpoint(verdict.touchpoint))
            else:
                # A record the broker does not take would fail the whole body, and every repetition of it.
                problems, kept = whole_body(verdict.problems, raw)
                messages.append(encoder.rejected(call, source.name, received_at, problems, kept))
            if place % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)
        return verdicts, messages

    async def _keep_whole(self, call: Call, source: Source, received_at: int, refusal: Refusal, hold: Hold) -> None:
        """A body that could not be taken apart is kept as it came, or as much of it as a record holds."""
        problems, kept = whole_body(refusal.problems, refusal.raw)
        await self._publish([self._encoder.rejected(call, source.name, received_at, problems, kept)], hold)
        count_verdicts(source.name, [Refused(problems)])

    async def _publish(self, messages: list[Outgoing], hold: Hold) -> None:
        if self._publisher.unacknowledged + len(messages) > self._settings.max_unacknowledged_events:
            raise Refusal(answer_error(503, "overloaded", retry_s=RETRY_AFTER_S))
        # From here on the bytes are the publisher's: they count until their fate is known, whatever we answer.
        handed_over = hold.move()
        try:
            stored = self._publisher.publish(messages, handed_over.release)
        except Exception as error:
            handed_over.release()
            if isinstance(error, Fatal):
                raise Refusal(answer_error(503, "broker_unavailable", retry_s=RETRY_AFTER_S)) from error
            raise
        try:
            async with asyncio.timeout(self._settings.ack_timeout_ms / 1000):
                await stored
            await fp_async("after_ack", NotStored)
        except (TimeoutError, NotStored) as error:
            raise Refusal(answer_error(503, "broker_unavailable", retry_s=RETRY_AFTER_S)) from error
