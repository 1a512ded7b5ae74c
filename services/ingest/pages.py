"""The page that a developer sees at /docs: how to point an SDK here. No external asset, so that it works offline."""

from collections.abc import Iterable, Sequence
from html import escape

from services.ingest.core.problems import REFUSALS, REMARKS
from services.ingest.endpoints import ANSWER_CODES, ANSWERS, ENDPOINTS
from services.ingest.settings import IngestSettings

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.55 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;max-width:58rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.2rem;margin-top:2.2em;border-bottom:1px solid var(--line)}
pre{background:var(--soft);padding:.9rem;overflow-x:auto;border-radius:6px;font-size:.86rem;line-height:1.45}
code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9em}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
td,th{text-align:left;vertical-align:top;padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line)}
"""
_CURL = """curl -u local: {url}/v1/track -d '{{
  "userId": "u-1001",
  "event": "Order Completed",
  "properties": {{"order_id": "A-17", "total": "129.90", "currency": "CNY"}}
}}'"""
_PYTHON = """# pip install segment-analytics-python
import segment.analytics as analytics

analytics.write_key = "local"
analytics.host = "{url}"
analytics.identify("u-1001", {{"email": "li@example.com", "phone": "139 1234 5678"}})
analytics.track("u-1001", "Product Viewed", {{"product_id": "p-9"}})
analytics.flush()"""
_RUDDER = """# pip install rudder-sdk-python
import rudderstack.analytics as rudder

rudder.write_key = "local"
rudder.dataPlaneUrl = "{url}"
rudder.track("u-1001", "Product Viewed", {{"product_id": "p-9"}})
rudder.flush()"""
_NODE = """// npm install @segment/analytics-node
import {{ Analytics }} from '@segment/analytics-node'

const analytics = new Analytics({{ writeKey: 'local', host: '{url}' }})
analytics.track({{ userId: 'u-1001', event: 'Product Viewed' }})
await analytics.closeAndFlush()"""
_BROWSER = """fetch('{url}/v1/page', {{
  method: 'POST', keepalive: true, headers: {{'Content-Type': 'text/plain'}},
  body: JSON.stringify({{writeKey: 'local', anonymousId: crypto.randomUUID(), name: document.title}})
}})"""


def render_docs(settings: IngestSettings) -> str:
    """The page as HTML; sizes and address are those of these settings."""
    url = f"http://{settings.host}:{settings.port}"
    samples = (
        ("curl", _CURL), ("Python, Segment", _PYTHON), ("Python, RudderStack", _RUDDER), ("Node", _NODE),
        ("Browser", _BROWSER),
    )  # fmt: skip
    shown = "".join(
        f"<h3>{title}</h3><pre><code>{escape(text.format(url=url))}</code></pre>" for title, text in samples
    )
    endpoints = [
        (f"POST {endpoint.path}", endpoint.summary, f"{getattr(settings, endpoint.limit.value):,} bytes")
        for endpoint in ENDPOINTS
    ]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Touchstream: send touchpoints</title>
<style>{_STYLE}</style></head><body>
<h1>Send touchpoints</h1>
<p>The SDKs of Segment and RudderStack work unchanged: give them this address and your write key.
A <b>200</b> means that the event is stored. Give every message a <code>messageId</code>, the same on every attempt:
repetitions are dropped by it. The machine-readable form of this page is <a href="/openapi.json">openapi.json</a>.</p>
<h2>Try it</h2>{shown}
<h2>Endpoints</h2>{_table(("path", "what", "largest body"), endpoints)}
<p>The write key is sent as Basic user with an empty password, as Bearer token, or, except for an
import, as <code>writeKey</code> in the body.
Bodies are plain or gzip. One event has at most {settings.max_event_bytes:,} bytes. A batch is
<code>{{"batch": [...], "sentAt": ...}}</code>; import also takes a JSON array or JSON lines, and accepts old times.</p>
<h2>Answers</h2>{_table(("status", "when"), [(str(status), text) for status, text in ANSWERS.items()])}
<h2>Rules that refuse an event</h2>{_table(("rule", "expected"), REFUSALS.items())}
<h2>Rules that set a value aside</h2>
<p>The event is taken; the value is left out of the traits or the identifiers and kept as the original.</p>
{_table(("rule", "expected"), REMARKS.items())}
<h2>Codes about the request</h2>{_table(("code", "meaning"), ANSWER_CODES.items())}
</body></html>"""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _row(cells: Sequence[str]) -> str:
    first, *others = (escape(cell) for cell in cells)
    return f"<td><code>{first}</code></td>" + "".join(f"<td>{cell}</td>" for cell in others)
