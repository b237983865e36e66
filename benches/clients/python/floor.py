"""The least a Python client can do: TCP, TLS with a certificate made beforehand, the startup packet. No driver."""

import os
import socket
import ssl
import struct


class Floor:
    """Opens bare sessions with the certificate in `BENCH_CERTIFICATE` and the CA in `BENCH_SERVER_CA`."""

    def __init__(self):
        self.address = (os.environ["BENCH_ADDRESS"], 3307)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.check_hostname = False
        self.context.load_verify_locations(os.environ["BENCH_SERVER_CA"])
        self.context.load_cert_chain(os.environ["BENCH_CERTIFICATE"])

    def connect(self, _driver):
        plain = socket.create_connection(self.address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(self.context.wrap_socket(plain))
        session.send(startup_packet())
        return session

    async def connect_async(self, _driver):
        import asyncio

        reader, writer = await asyncio.open_connection(*self.address, ssl=self.context)
        session = AsyncSession(reader, writer)
        await session.send(startup_packet())
        return session

    def close(self):
        pass

    async def close_async(self):
        pass


class Session:
    """A logged-in blocking session."""

    def __init__(self, stream):
        self.stream = stream

    def send(self, packet):
        """Sends one packet and reads all that answers it."""
        self.stream.sendall(packet)
        replies = Replies()
        while not replies.complete:
            replies.feed(self.stream.recv(65536))

    def close(self):
        self.stream.close()


class AsyncSession:
    """A logged-in asyncio session."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, packet):
        self.writer.write(packet)
        replies = Replies()
        while not replies.complete:
            replies.feed(await self.reader.read(65536))

    async def close(self):
        self.writer.close()


class Replies:
    """Follows the server's messages up to ReadyForQuery."""

    def __init__(self):
        self.buffer = bytearray()
        self.complete = False

    def feed(self, received):
        if not received:
            raise ConnectionError("the server closed the connection")
        self.buffer += received
        while len(self.buffer) >= 5:
            kind, length = struct.unpack_from("!cI", self.buffer)
            if len(self.buffer) < 1 + length:
                return
            if kind == b"E":
                raise ConnectionError(bytes(self.buffer[5 : 1 + length]).decode(errors="replace"))
            self.complete = kind == b"Z"
            del self.buffer[: 1 + length]


def startup_packet():
    parameters = f"user\0{os.environ['BENCH_USER']}\0database\0{os.environ['BENCH_DATABASE']}\0\0".encode()
    return struct.pack("!II", 8 + len(parameters), 196608) + parameters


def query_packet(sql):
    body = sql.encode() + b"\0"
    return b"Q" + struct.pack("!I", 4 + len(body)) + body
