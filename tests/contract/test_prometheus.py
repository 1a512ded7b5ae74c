"""Prometheus scrapes the ports the services have, and every rule and panel asks for a metric that the code exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from cli.docs import settings_classes
from cli.markdown import anchors

REPO = Path(__file__).resolve().parents[2]
PROMETHEUS = REPO / "deploy" / "prometheus"
BOARDS = REPO / "deploy" / "grafana" / "dashboards"
# Processes whose common metrics the chassis' loop creates under their own name.
LOOPS = ("identity", "profile", "rules", "archive")
CREATED = re.compile(r"\b(counter|gauge|histogram)\(\s*([\w\"]+),\s*\"(\w+)\"")
FROM_THE_CLIENT = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
DURATION = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}


def exported() -> set[str]:
    """Every series name that the services' code can produce, read from the calls that create the metrics."""
    found = set(FROM_THE_CLIENT)
    for path in (REPO / "services").rglob("*.py"):
        text = path.read_text()
        constant = re.search(r"^SERVICE = \"(\w+)\"", text, re.MULTILINE)
        for kind, service, what in CREATED.findall(text):
            if service.startswith('"'):
                names = [service.strip('"')]
            else:
                names = [constant[1]] if constant else list(LOOPS)
            suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[kind]
            found |= {f"touchstream_{name}_{what}{suffix}" for name in names for suffix in suffixes}
    return found


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def panels() -> Iterator[dict[str, Any]]:
    for path in sorted(BOARDS.glob("*.json")):
        yield from (panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row")


def expressions() -> list[str]:
    found = [rule["expr"] for rule in rules()]
    return found + [target["expr"] for panel in panels() for target in panel["targets"]]


def unknown_metrics(expression: str) -> list[str]:
    """Selectors of an expression that match no metric; ValueError where it is no PromQL."""
    for variable, value in DURATION.items():
        expression = expression.replace(variable, value)
    selectors: list[str] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            patterns = [m.value for m in node.matchers.matchers if m.name == "__name__"]
            selectors.extend([re.escape(node.name)] if node.name else patterns)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    known = exported() | recorded()
    # Each branch of an alternation must find something: one that never can would hide behind the others.
    branches = [branch for pattern in selectors for branch in pattern.split("|")]
    return [branch for branch in branches if not any(re.fullmatch(branch, name) for name in known)]


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_asks_for_metrics_that_exist(expression: str) -> None:
    assert unknown_metrics(expression) == []


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("rate(touchstream_ingest_evnts_total[1m])", "touchstream_ingest_evnts_total"),
        ('sum({__name__=~"touchstream_[a-z]+_lag_recrods"})', r"touchstream_[a-z]+_lag_recrods"),
        ('{__name__=~"touchstream_[a-z]+_gap_stopped|touchstream_notify_gpas_total"}', "touchstream_notify_gpas_total"),
        (
            "histogram_quantile(0.9, rate(touchstream_notify_end_to_end_seconds[1m]))",
            "touchstream_notify_end_to_end_seconds",
        ),
        ("service:touchstream_lag:sum > 1", "service:touchstream_lag:sum"),
    ],
)
def test_a_planted_misspelt_metric_is_named(expression: str, named: str) -> None:
    assert unknown_metrics(expression) == [named]


def test_a_planted_syntax_error_fails() -> None:
    with pytest.raises(ValueError, match=r"parse|unexpected|invalid"):
        unknown_metrics("sum by service (up)")


def test_the_scraped_targets_are_the_services_and_their_metrics_ports() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "touchstream")
    scraped = {entry["labels"]["service"]: entry["targets"] for entry in job["static_configs"]}
    classes = {name: cls for name, cls in settings_classes().items() if "metrics_port" in cls.model_fields}
    assert scraped == {name: [f"{name}:{cls.model_fields['metrics_port'].default}"] for name, cls in classes.items()}


def test_every_alert_says_how_bad_it_is_and_has_a_runbook() -> None:
    headings = anchors((PROMETHEUS / "README.md").read_text())
    alerts = [rule for rule in rules() if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        file, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert (REPO / file).samefile(PROMETHEUS / "README.md"), alert["alert"]
        assert anchor in headings, alert["alert"]


def test_every_panel_asks_the_provisioned_data_source() -> None:
    provisioned = yaml.safe_load((BOARDS.parent / "provisioning" / "datasources" / "prometheus.yml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} <= uids
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
