"""Alert rules and dashboard: Prometheus' own tool takes them, and they speak of metrics that there are."""

import json
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.deploy import catalog, prometheus
from tests.examples import table

FOLDER = catalog.ROOT / "deploy/observability"


@pytest.fixture(scope="module")
def promtool() -> pathlib.Path:
    prometheus.STORE.provide()
    return prometheus.STORE.needs() / prometheus.TOOL


def ran(promtool: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules(promtool: pathlib.Path) -> None:
    found = re.findall(r"- (?:alert|record): (\S+)", (FOLDER / "alerts.yaml").read_text())
    assert f"SUCCESS: {len(found)} rules found" in ran(promtool, "check", "rules", "alerts.yaml")


def test_each_alert_fires_when_it_should_and_not_else(promtool: pathlib.Path) -> None:
    """By the command that docs/metrics.md has."""
    [example] = table.run_by(__file__, "test_each_alert_fires_when_it_should_and_not_else")
    ran(promtool, *example.command.split()[1:])
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yaml").read_text()))
    tests = (FOLDER / "alerts.test.yaml").read_text()
    fired = set(re.findall(r'alertname="(\w+)"(?:, host="\w+")?\}\', value: 1', tests))
    assert fired == alerts


def test_the_dashboards_queries_are_queries(promtool: pathlib.Path, tmp_path: pathlib.Path) -> None:
    queries = [_filled_in(each) for each in expressions()]
    assert len(queries) > 15
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(queries)} rules found" in ran(promtool, "check", "rules", str(tmp_path / "rules.yaml"))


def test_what_the_page_tells_prometheus_is_taken(promtool: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The scrape configuration with the alerts beside it, and the query."""
    page = (catalog.ROOT / "docs/metrics.md").read_text()
    [scraping] = re.findall(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(f"rule_files: [{FOLDER}/alerts.yaml]\n{scraping}")
    assert "SUCCESS" in ran(promtool, "check", "config", str(tmp_path / "prometheus.yml"))
    [ours] = set(re.findall(r'job=~"([^"]+)"', (FOLDER / "alerts.yaml").read_text()))
    jobs = re.findall(r"job_name: (\S+)", scraping)
    assert len(jobs) == 2
    assert [each for each in jobs if not re.fullmatch(ours, each)] == []
    [query] = re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
    rules = {"groups": [{"name": "page", "rules": [{"record": "page", "expr": query}]}]}
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    ran(promtool, "check", "rules", str(tmp_path / "rules.yaml"))


@pytest.mark.parametrize("name", ["alerts.yaml", "alerts.test.yaml", "dashboard.json"])
def test_every_metric_that_is_spoken_of_exists(name: str) -> None:
    spoken = set(re.findall(r"\b(?:sriov|process)_\w+", (FOLDER / name).read_text()))
    assert len(spoken) > 5
    assert spoken - catalog.names().keys() - catalog.ours() == set()


def test_the_dashboard_shows_every_metric_of_ours_but_when_it_was_looked_at() -> None:
    shown = set(re.findall(r"sriov_\w+", " ".join(expressions())))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert catalog.ours() - families == {"sriov_config_reloads_total", "sriov_vf_look_timestamp_seconds"}


def expressions() -> list[str]:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return list(_of(panels))


def _of(panels: list[dict[str, list[dict[str, str]]]]) -> Iterator[str]:
    for panel in panels:
        for target in panel.get("targets", []):
            yield target["expr"]


def _filled_in(expression: str) -> str:
    """With what Grafana puts in for its variables."""
    filled = expression.replace("$__rate_interval", "5m")
    return re.sub(r"\$(node|instance|namespace)\b", ".*", filled)
