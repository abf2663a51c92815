"""A pod's server that answers the kubelet's gRPC probe, and who probes it: `python -m tests.kernel.probes`.

The health protocol by hand: a request for the whole server is empty, and field 1 with 1 is SERVING (grpc.health.v1).
"""

import concurrent.futures
import sys

import grpc

METHOD = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


def _serve(target: str) -> None:
    """Answer at the address until stdin ends; the peer's address is printed for each probe."""

    def check(_request: bytes, context: grpc.ServicerContext) -> bytes:
        print(context.peer(), flush=True)
        return SERVING

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[handler])
    server.add_insecure_port(target)
    server.start()
    print("listening", flush=True)
    sys.stdin.read()
    server.stop(None)


def _probe(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        answer = channel.unary_unary(METHOD)(b"", timeout=5)
    print("SERVING" if answer == SERVING else answer)


if __name__ == "__main__":
    {"serve": _serve, "probe": _probe}[sys.argv[1]](sys.argv[2])
