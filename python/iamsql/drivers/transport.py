"""An asyncio transport over the engine's TLS session: the loop watches the descriptor, nothing runs in between."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

    from .. import _native


class EngineTransport(asyncio.Transport):
    """Carries bytes between `protocol` and `native`. Lives on one loop and is used from its thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        native: _native.Transport,
        protocol: asyncio.Protocol,
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._native = native
        self._fd = native.fileno()
        self._protocol = protocol
        self._on_error = on_error
        self._unsent = bytearray()
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._closing = False
        self._lost = False
        self._paused = False
        self._writing = False
        self._protocol_paused = False
        protocol.connection_made(self)
        if not self._closing:
            loop.add_reader(self._fd, self._read_ready)
            if native.pending():
                loop.call_soon(self._read_ready)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # Reading

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._loop.add_reader(self._fd, self._read_ready)
            # What was decrypted before the pause makes no descriptor readable.
            if self._native.pending():
                self._loop.call_soon(self._read_ready)

    def _read_ready(self) -> None:
        native = self._native
        try:
            while not self._paused and not self._closing:
                data = native.read()
                if data is None:
                    break
                if not data:
                    self._end_of_stream()
                    return
                self._protocol.data_received(data)
                if not native.pending():
                    break
        except OSError as error:
            self._fail(error)
        except Exception as error:
            self._fail(error)
        else:
            # Reading may have produced something to say: a key update, an alert.
            if not self._closing and not self._writing and native.wants_write():
                self._write_ready()

    def _end_of_stream(self) -> None:
        if self._protocol.eof_received():
            self._loop.remove_reader(self._fd)
        else:
            self.close()

    # Writing

    def write(self, data: Any) -> None:
        if self._closing:
            return
        if self._unsent:
            self._unsent += data
            self._pause_protocol_if_full()
            return
        try:
            taken = self._native.write(data)
            flushed = self._native.flush()
        except Exception as error:
            self._fail(error)
            return
        if taken < len(data):
            self._unsent += memoryview(data).cast("B")[taken:]
        if self._unsent or not flushed:
            self._watch_writable()
            self._pause_protocol_if_full()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("a database connection has no half-open state")

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and that at least 0")
        self._high, self._low = high, low
        self._pause_protocol_if_full()

    def _watch_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._write_ready)

    def _write_ready(self) -> None:
        native = self._native
        try:
            flushed = native.flush()
            while flushed and self._unsent:
                taken = native.write(bytes(self._unsent[:_HIGH_WATER]))
                if not taken:
                    break
                del self._unsent[:taken]
                flushed = native.flush()
        except Exception as error:
            self._fail(error)
            return
        if self._protocol_paused and len(self._unsent) <= self._low:
            self._protocol_paused = False
            self._protocol.resume_writing()
        if self._unsent or not flushed:
            self._watch_writable()
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        if self._closing:
            self._lose(None)

    def _pause_protocol_if_full(self) -> None:
        if not self._protocol_paused and len(self._unsent) > self._high:
            self._protocol_paused = True
            self._protocol.pause_writing()

    # Ending

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Ends the connection once what was written is out."""
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        if not self._writing:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Ends the connection now."""
        self._end(None)

    def _fail(self, error: BaseException) -> None:
        self._on_error(error)
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._unsent.clear()
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = True
        try:
            self._protocol.connection_lost(error)  # type: ignore[arg-type]
        finally:
            self._native.close()

    def __del__(self) -> None:
        if not self._lost:
            self._native.close()


_HIGH_WATER = 64 * 1024
