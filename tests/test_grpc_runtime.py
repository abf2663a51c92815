"""gRPC's event loop side stays up for as long as a process that uses it, whatever the garbage collector does."""

import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parents[1]
LAST_CHANNEL_IS_COLLECTED = """
import asyncio, gc, threading, grpc
import {module}

async def body():
    async with grpc.aio.insecure_channel("unix:/nobody"):
        pass

asyncio.run(body())
gc.collect()
print([thread.name for thread in threading.enumerate() if "_poll" in thread.name])
"""


@pytest.mark.parametrize("module", ["deviceplugin.registration", "sriov.kubelet.podresources", "tests.fakes.kubelet"])
def test_the_end_of_the_last_channel_is_not_the_end_of_its_poller(module: str) -> None:
    code = LAST_CHANNEL_IS_COLLECTED.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "_poll_wrapper" in done.stdout, done
