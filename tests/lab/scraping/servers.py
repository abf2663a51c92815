"""A Prometheus that scrapes as docs/metrics.md says, only sooner, and what it answers."""

import asyncio
import contextlib
import json
import pathlib
import re
import urllib.parse
from collections.abc import AsyncIterator, Callable

from sriov.daemon import http_address
from tests.deploy import catalog
from tests.sriov.daemon import clients

_HERE = http_address.Tcp("127.0.0.1", 9090)
_PATIENCE = 120.0  # seconds: the guest's CPU is emulated

Answer = dict[frozenset[tuple[str, str]], float]
"""Values by labels."""


def of_the_page() -> str:
    """Its configuration as the page has it, with the alerts."""
    page = (catalog.ROOT / "docs/metrics.md").read_text()
    [scraping] = re.findall(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    rules = catalog.ROOT / "deploy/observability/alerts.yaml"
    return f"global: {{scrape_interval: 2s}}\nrule_files: [{rules}]\n{scraping}"


@contextlib.asynccontextmanager
async def running(
    server: pathlib.Path, folder: pathlib.Path, configuration: str = "", where: http_address.Tcp = _HERE
) -> AsyncIterator[None]:
    config = folder / "prometheus.yml"
    config.write_text(configuration or of_the_page())
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={where}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(server, *flags, stdout=log, stderr=log)
    try:
        yield
    finally:
        assert process.returncode is None, (folder / "prometheus.log").read_text()
        process.terminate()
        await process.wait()


async def told(query: str, enough: Callable[[Answer], bool], where: http_address.Tcp = _HERE) -> None:
    """Ask until the answer is as it should be. Fails with the last one."""
    found: Answer = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while not enough(found := await asked(query, where)):
                await asyncio.sleep(1)
    assert enough(found), (query, found)


async def asked(query: str, where: http_address.Tcp = _HERE) -> Answer:
    try:
        code, body = await clients.get(where, f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    except OSError:
        return {}  # it has only been started
    if code != 200:
        return {}
    return {frozenset(each["metric"].items()): float(each["value"][1]) for each in json.loads(body)["data"]["result"]}
