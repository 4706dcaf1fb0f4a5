"""A server that a test starts on this machine."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def loopback(handler):
    """While it is entered, `handler` answers HTTP at the address that it gives, "127.0.0.1:PORT"."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
