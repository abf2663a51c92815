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


@contextlib.asynccontextmanager
async def running(server: pathlib.Path, folder: pathlib.Path) -> AsyncIterator[None]:
    page = (catalog.ROOT / "docs/metrics.md").read_text()
    [scraping] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    rules = catalog.ROOT / "deploy/observability/alerts.yaml"
    config = folder / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 2s}}\nrule_files: [{rules}]\n{scraping}")
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={_HERE}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(server, *flags, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def told(query: str, enough: Callable[[dict[frozenset[tuple[str, str]], float]], bool]) -> None:
    """Ask until the answer, values by labels, is as it should be. Fails with the last one."""
    found: dict[frozenset[tuple[str, str]], float] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while not enough(found := await _asked(query)):
                await asyncio.sleep(1)
    assert enough(found), (query, found)


async def _asked(query: str) -> dict[frozenset[tuple[str, str]], float]:
    try:
        code, body = await clients.get(_HERE, f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    except OSError:
        return {}  # it has only been started
    if code != 200:
        return {}
    return {frozenset(each["metric"].items()): float(each["value"][1]) for each in json.loads(body)["data"]["result"]}
