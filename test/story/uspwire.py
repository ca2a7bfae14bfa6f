"""USP on a Unix domain socket, by hand: frames, Records and Messages by their field numbers (TR-369, usp-record-1-3.proto, usp-msg-1-3.proto)."""

import struct

HANDSHAKE, ERROR, RECORD = 1, 2, 3  # types of what a frame holds


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def message(*fields):
    """Encodes fields: number and value, which is a str, bytes (of a message), bool, int (a varint) or dict (a map of strings)."""
    out = b""
    for number, value in fields:
        if isinstance(value, dict):
            for k, v in value.items():
                out += message((number, message((1, k), (2, v))))
        elif isinstance(value, int):
            out += varint(number << 3) + varint(int(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


class Message:
    """What is in an encoded message, by the numbers of its fields."""

    def __init__(self, data):
        self.fields = {}
        at = 0

        def number():
            nonlocal at
            n = shift = 0
            while True:
                byte = data[at]
                at += 1
                n |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return n

        while at < len(data):
            key = number()
            if key & 7 == 0:
                value = number()
            elif key & 7 == 5:
                value, at = struct.unpack_from("<I", data, at)[0], at + 4
            elif key & 7 == 2:
                length = number()
                value, at = data[at:at + length], at + length
                if len(value) != length:
                    raise ValueError(f"a field is cut off: {data!r}")
            else:
                raise ValueError(f"wire type {key & 7} of field {key >> 3} in {data!r}")
            self.fields.setdefault(key >> 3, []).append(value)

    def __contains__(self, number):
        return number in self.fields

    def all(self, number):
        return [Message(v) for v in self.fields.get(number, [])]

    def sub(self, *numbers):
        """The message in the message in this one; empty where it is not there."""
        m = self
        for n in numbers:
            m = Message(m.fields.get(n, [b""])[-1])
        return m

    def texts(self, number):
        return [v.decode() for v in self.fields.get(number, [])]

    def text(self, number):
        return self.fields.get(number, [b""])[-1].decode()

    def int(self, number):
        return self.fields.get(number, [0])[-1]

    def map(self, number):
        return {e.text(1): e.text(2) for e in self.all(number)}


class Link:
    """The Broker's end of the connection of a Service."""

    def __init__(self, conn, own):
        self.conn, self.own, self.peer = conn, own, None

    def write(self, kind, data):
        self.conn.sendall(b"_USP" + struct.pack(">IBI", 5 + len(data), kind, len(data)) + data)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.conn.recv(n - len(data))
            if not piece:
                raise EOFError("the Service closes the connection")
            data += piece
        return data

    def read(self):
        """The elements of the next frame: type and value."""
        head = self.exactly(8)
        if head[:4] != b"_USP":
            raise ValueError(f"a frame begins with {head!r}")
        data, list = self.exactly(struct.unpack(">I", head[4:])[0]), []
        while data:
            kind, length = struct.unpack_from(">BI", data)
            list.append((kind, data[5:5 + length]))
            data = data[5 + length:]
        return list

    def send(self, payload):
        """Sends a Message in a Record without session context."""
        self.write(RECORD, message((1, "1.3"), (2, self.peer), (3, self.own), (7, message((2, payload)))))
