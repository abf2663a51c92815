"""`kubectl exec`, the server's end of its WebSocket: the command's output, then its exit status. Nothing is read.

RFC 6455, and Kubernetes' subprotocol v5.channel.k8s.io: the first byte of a message is the number of its stream.
"""

import base64
import hashlib
import http.server
import json
import struct

PROTOCOL = "v5.channel.k8s.io"
OUTPUT, STATUS = 1, 3
_ACCEPTED = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
_BINARY, _CLOSE = 0x82, 0x88


def answer(request: http.server.BaseHTTPRequestHandler, output: str, status: int) -> None:
    """Send the output and the status, and close the connection."""
    key = request.headers["Sec-WebSocket-Key"] + _ACCEPTED
    request.send_response(101)
    request.send_header("Upgrade", "websocket")
    request.send_header("Connection", "Upgrade")
    request.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())  # noqa: S324 (the protocol's)
    request.send_header("Sec-WebSocket-Protocol", PROTOCOL)
    request.end_headers()
    for channel, said in ((OUTPUT, output), (STATUS, json.dumps(_ended(status)))):
        request.wfile.write(_frame(_BINARY, bytes([channel]) + said.encode()))
    request.wfile.write(_frame(_CLOSE, struct.pack(">H", 1000)))
    request.close_connection = True


def _frame(kind: int, body: bytes) -> bytes:
    size = bytes([len(body)]) if len(body) < 126 else b"\x7e" + struct.pack(">H", len(body))
    return bytes([kind]) + size + body


def _ended(status: int) -> dict[str, object]:
    """Return the status as the kubelet reports it."""
    if status == 0:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(status)}]
    told = f"command terminated with non-zero exit code: exit status {status}"
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": told, "details": {"causes": causes}}
