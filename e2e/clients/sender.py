"""Sends a frame of 64 MiB to host and port, on a blocking socket, and reads
only when it has sent everything. Prints the close code that it reads."""
import socket
import sys

REQUEST = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
SIZE = 64 << 20

with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as s:
    s.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += s.recv(1)
    s.sendall(b"\x82\xff" + SIZE.to_bytes(8, "big") + bytes(4) + bytes(SIZE))
    got = b""
    while piece := s.recv(65536):
        got += piece
assert got[0] == 0x88, got
print("close", int.from_bytes(got[2:4], "big"))
