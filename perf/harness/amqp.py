"""A small client of AMQP 0-9-1, for what leveret-perf does not measure: when each single message was sent and when it was
confirmed. One connection with one channel in confirm mode, and no property but that messages are persistent."""

import socket
import struct

CHANNEL = 1
METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"
FRAME_HEAD_BYTES, FRAME_MAX_BYTES = 7, 131_072

START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = (10, 10), (10, 11), (10, 30), (10, 31), (10, 40), (10, 41)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
DECLARE, DECLARE_OK = (50, 10), (50, 11)
PUBLISH, RETURN, ACK, NACK = (60, 40), (60, 50), (60, 80), (60, 120)
CONSUME, CONSUME_OK = (60, 20), (60, 21)
CONFIRM, CONFIRM_OK = (85, 10), (85, 11)

DURABLE, MANDATORY, NO_ACK = 0b10, 0b1, 0b10


class Refused(OSError):
    """The broker said something else than was wanted, as that it closes the connection."""


class Returned(Refused):
    """A message came back: the queue is not there."""


def short(text):
    return bytes([len(text)]) + text.encode()


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + END


def content(queue, body):
    """The frames of a persistent message to a queue, which is returned if there is none."""
    method = struct.pack(">HHH", *PUBLISH, 0) + short("") + short(queue) + bytes([MANDATORY])
    header = struct.pack(">HHQHB", 60, 0, len(body), 1 << 12, 2)
    room = FRAME_MAX_BYTES - FRAME_HEAD_BYTES - len(END)
    pieces = [frame(BODY, CHANNEL, body[at : at + room]) for at in range(0, len(body), room)]
    return frame(METHOD, CHANNEL, method) + frame(HEADER, CHANNEL, header) + b"".join(pieces)


class Client:
    def __init__(self, port, timeout_s):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect(START)
        self.send(0, START_OK, bytes(4) + short("PLAIN") + struct.pack(">I", 12) + b"\0guest\0guest" + short("en_US"))
        self.expect(TUNE)
        self.send(0, TUNE_OK, struct.pack(">HIH", CHANNEL, FRAME_MAX_BYTES, 0))
        self.ask(0, OPEN, short("/") + b"\0\0", OPEN_OK)
        self.ask(CHANNEL, CHANNEL_OPEN, b"\0", CHANNEL_OPEN_OK)
        self.ask(CHANNEL, CONFIRM, b"\0", CONFIRM_OK)

    def send(self, channel, method, arguments):
        self.socket.sendall(frame(METHOD, channel, struct.pack(">HH", *method) + arguments))

    def ask(self, channel, method, arguments, answer):
        self.send(channel, method, arguments)
        return self.expect(answer)

    def more(self):
        some = self.socket.recv(1 << 16)
        if not some:
            raise Refused("the connection was closed")
        self.received += some

    def method(self):
        """The next method, whatever content is before it, and its arguments."""
        while True:
            while len(self.received) < FRAME_HEAD_BYTES:
                self.more()
            kind, _, length = struct.unpack_from(">BHI", self.received)
            while len(self.received) < FRAME_HEAD_BYTES + length + 1:
                self.more()
            payload = bytes(self.received[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length])
            del self.received[: FRAME_HEAD_BYTES + length + 1]
            if kind == METHOD:
                return struct.unpack_from(">HH", payload), payload[4:]

    def expect(self, wanted):
        method, arguments = self.method()
        if method == RETURN:
            raise Returned("a message was returned")
        if method != wanted:
            raise Refused(f"method {method} in place of {wanted}: {arguments[:200]!r}")
        return arguments

    def declare(self, queue):
        self.ask(CHANNEL, DECLARE, bytes(2) + short(queue) + bytes([DURABLE]) + bytes(4), DECLARE_OK)

    def consume(self, queue):
        """Messages come from now on, acknowledged by being sent."""
        self.ask(CHANNEL, CONSUME, bytes(2) + short(queue) + short("") + bytes([NO_ACK]) + bytes(4), CONSUME_OK)

    def confirmed(self):
        """The next confirm: its tag, and whether those before it are meant, too."""
        tag, multiple = struct.unpack_from(">QB", self.expect(ACK))
        return tag, bool(multiple)

    def close(self):
        self.socket.close()
