"""A Python that reaches nothing but its own machine. Tests put this folder on PYTHONPATH."""

import sys

LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


def guard(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if not isinstance(address, tuple):
            return  # a socket that is a file
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or "localhost"
    if not host.startswith(LOCAL):
        raise OSError(f"there is no network in this test, but the code asked for {host}")


sys.addaudithook(guard)
