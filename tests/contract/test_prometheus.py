"""Prometheus scrapes the ports the services have, and every rule and panel asks for a metric that the code exports."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from cli.docs import settings_classes
from cli.markdown import anchors, command_problems
from cli.verify.model import Check
from cli.verify.run import Report
from cli.verify.show import as_textfile

REPO = Path(__file__).resolve().parents[2]
PROMETHEUS = REPO / "deploy" / "prometheus"
BOARDS = REPO / "deploy" / "grafana" / "dashboards"
# Processes whose common metrics the chassis' loop creates under their own name.
LOOPS = ("identity", "profile", "rules", "archive")
CREATED = re.compile(r"\b(counter|gauge|histogram)\(\s*([\w\"]+),\s*\"(\w+)\"")
FROM_THE_CLIENT = {
    "up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds",
}  # fmt: skip
RUNBOOK = PROMETHEUS / "runbook.md"
# What every page of the runbook says, in this order.
PARTS = ("Means.", "Look.", "Do.", "Do not", "Ends")
DURATION = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}


def exported() -> set[str]:
    """Every series name that the services' code can produce, read from the calls that create the metrics."""
    verified = Report([Check("a", "b", 0, 0)], [], 0)
    found = FROM_THE_CLIENT | set(re.findall(r"^(\w+)", as_textfile(verified, 0.0), re.MULTILINE))
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


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def pages(text: str) -> dict[str, str]:
    """Heading → text below it, of a runbook."""
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def page_problems(text: str, names: Sequence[str]) -> list[str]:
    """Alerts without a page, pages without an alert, and pages that do not say everything."""
    found = pages(text)
    wrong = [f"{name}: no page" for name in names if name not in found]
    wrong += [f"{name}: no such alert" for name in found if name not in names]
    for name, page in found.items():
        places = [page.find(f"**{part}") for part in PARTS]
        if -1 in places or places != sorted(places):
            wrong.append(f"{name}: must say {', '.join(PARTS)}")
    return wrong


def test_every_alert_says_how_bad_it_is_and_where_its_page_is() -> None:
    headings = anchors(RUNBOOK.read_text())
    assert alerts()
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        file, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert (REPO / file).samefile(RUNBOOK), alert["alert"]
        assert anchor == alert["alert"].lower() in headings, alert["alert"]


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    assert page_problems(RUNBOOK.read_text(), [alert["alert"] for alert in alerts()]) == []


def test_a_planted_page_that_is_missing_incomplete_or_too_many_is_named() -> None:
    whole = "\n\n".join(f"**{part}** x" for part in PARTS)
    text = f"# Runbook\n\n## A\n\n{whole}\n\n## B\n\n{whole.replace('**Do.**', '')}\n\n## C\n\n{whole}\n"
    assert page_problems(text, ["A", "B", "D"]) == ["D: no page", "C: no such alert", f"B: must say {', '.join(PARTS)}"]


def test_a_planted_command_that_does_not_exist_is_named_on_a_page(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("up:\n")
    (tmp_path / "runbook.md").write_text("Run `touchstream verfy`, then `make upp` and `touchstream verify --jsn`.")
    assert command_problems(tmp_path) == [
        "runbook.md: touchstream verfy: no command verfy",
        "runbook.md: make upp: no target upp",
        "runbook.md: touchstream verify --jsn: no option --jsn",
    ]
    assert [problem for problem in command_problems(REPO) if "runbook.md" in problem] == []


def test_every_panel_asks_the_provisioned_data_source() -> None:
    provisioned = yaml.safe_load((BOARDS.parent / "provisioning" / "datasources" / "prometheus.yml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} <= uids
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
