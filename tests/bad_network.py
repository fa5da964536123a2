"""A network between the program and a server that goes silent, or damages what it passes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Network:
    """Passes on what both sides send, until the server has sent so much or the client sends a text.

    Then nothing passes and nothing ends; or, with `damage`, that changes what the server sends.
    """

    def __init__(
        self,
        url: str,
        *,
        bytes_from_server: int | None,
        text_from_client: bytes | None,
        damage: Callable[[bytes], bytes] | None,
    ) -> None:
        self._server = sa.make_url(url)
        self._left = bytes_from_server
        self._text = text_from_client
        self._damage = damage
        self.silent = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        through = self._server.set(host="127.0.0.1", port=port)
        plain = "sslmode" if through.get_backend_name() == "postgresql" else "ssl_disabled"
        through = through.update_query_dict(
            {plain: "disable" if plain == "sslmode" else "true"}, append=False
        )
        self.url = through.render_as_string(hide_password=False)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._server.host or "", self._server.port or 0))
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass_on, args=(source, target, source is server), daemon=True
                    ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_server and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self.silent.set()
                if not from_server and self._text and self._text in data.upper():
                    # This still arrives; what the server answers does not, however soon it is.
                    self.silent.set()
                    target.sendall(data)
                    continue
                if not self.silent.is_set():
                    target.sendall(data)
                elif self._damage is not None:
                    target.sendall(self._damage(data) if from_server else data)
            if not self.silent.is_set() or self._damage is not None:
                target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all connections."""
        for one in (self._listener, *self._sockets):
            one.close()


@contextlib.contextmanager
def bad_network(
    url: str,
    *,
    bytes_from_server: int | None = None,
    text_from_client: bytes | None = None,
    damage: Callable[[bytes], bytes] | None = None,
) -> Iterator[Network]:
    """Give the way to a server over a network that goes silent, or begins to damage."""
    network = Network(
        url,
        bytes_from_server=bytes_from_server,
        text_from_client=text_from_client,
        damage=damage,
    )
    try:
        yield network
    finally:
        network.close()
