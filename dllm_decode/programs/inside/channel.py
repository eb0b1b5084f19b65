"""Messages over a socket: JSON with its length before it. Limits what the other side can make this one hold."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LARGEST = 8 << 20
"""Bytes of a message, at most."""


class BrokenChannelError(Exception):
    """The other side has gone, or has sent what is no message."""


class Channel:
    """Sends and receives messages over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the socket."""
        self.connection = connection

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            BrokenChannelError: The other side has gone.
            ValueError: The message is too large.
        """
        data = json.dumps(message).encode("ascii")
        if len(data) > LARGEST:
            raise ValueError(f"a message of {len(data)} bytes, and {LARGEST} are the most")
        try:
            self.connection.sendall(struct.pack("!I", len(data)) + data)
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokenChannelError(str(error)) from None

    def receive(self) -> Any:
        """Wait for a message and return it.

        Raises:
            BrokenChannelError: The other side has gone, or has sent what is no message.
            TimeoutError: None came in the socket's own time.
        """
        (length,) = struct.unpack("!I", self._read(4))
        if length > LARGEST:
            raise BrokenChannelError(f"a message of {length} bytes")
        try:
            return json.loads(self._read(length))
        except (ValueError, RecursionError):
            raise BrokenChannelError("no message") from None

    def _read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self.connection.recv(min(length - len(parts), 1 << 20))
            except TimeoutError:
                raise
            except OSError as error:
                raise BrokenChannelError(str(error)) from None
            if not part:
                raise BrokenChannelError("closed")
            parts += part
        return bytes(parts)
