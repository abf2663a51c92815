"""`kubectl exec`, the server's end of its WebSocket: what the command is sent, its output, then its exit status.

RFC 6455, and Kubernetes' subprotocol v5.channel.k8s.io: the first byte of a message is the number of its stream, and a
message of 255 and a number closes that stream (kubernetes, staging/src/k8s.io/client-go/tools/remotecommand).
"""

import base64
import hashlib
import http.server
import io
import json
import struct

from tests.fakes.cluster.kubelets import Ended

PROTOCOL = "v5.channel.k8s.io"
INPUT, OUTPUT, ERRORS, STATUS, CLOSES = 0, 1, 2, 3, 255
_ACCEPTED = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
_BINARY, _CLOSE = 0x82, 0x88


def accept(request: http.server.BaseHTTPRequestHandler) -> None:
    key = request.headers["Sec-WebSocket-Key"] + _ACCEPTED
    request.send_response(101)
    request.send_header("Upgrade", "websocket")
    request.send_header("Connection", "Upgrade")
    request.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())  # noqa: S324 (the protocol's)
    request.send_header("Sec-WebSocket-Protocol", PROTOCOL)
    request.end_headers()


def received(file: io.BufferedIOBase) -> str:
    """Return the client's standard input, once the client has closed it."""
    whole = b""
    while (body := _message(file)) not in (bytes([CLOSES, INPUT]), None):
        assert body is not None
        whole += body[1:] if body[:1] == bytes([INPUT]) else b""
    return whole.decode()


def _message(file: io.BufferedIOBase) -> bytes | None:
    """Return the next message, which a client masks; None if it hangs up."""
    kind, size = file.read(2)
    size &= 0x7F
    if size > 125:
        size = int.from_bytes(file.read(2 if size == 126 else 8), "big")
    mask, body = file.read(4), file.read(size)
    return None if kind == _CLOSE else bytes(each ^ mask[place % 4] for place, each in enumerate(body))


def answer(request: http.server.BaseHTTPRequestHandler, ended: Ended) -> None:
    """Send the output and the status, and close the connection."""
    for channel, said in ((OUTPUT, ended.out), (ERRORS, ended.err), (STATUS, json.dumps(_ended(ended.status)))):
        if said:
            request.wfile.write(_frame(_BINARY, bytes([channel]) + said.encode(errors="surrogateescape")))
    request.wfile.write(_frame(_CLOSE, struct.pack(">H", 1000)))
    request.close_connection = True


def _frame(kind: int, body: bytes) -> bytes:
    if len(body) < 126:
        return bytes([kind, len(body)]) + body
    return (
        bytes([kind])
        + (struct.pack(">BH", 126, len(body)) if len(body) < 1 << 16 else struct.pack(">BQ", 127, len(body)))
        + body
    )


def _ended(status: int) -> dict[str, object]:
    """Return the status as the kubelet reports it."""
    if status == 0:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(status)}]
    told = f"command terminated with non-zero exit code: exit status {status}"
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": told, "details": {"causes": causes}}
