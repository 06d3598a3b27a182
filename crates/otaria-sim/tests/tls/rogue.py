"""A TLS 1.3 server that breaks the rules as it is told, in each connection in another way.

    rogue.py CERTIFICATES KEY PSK MISBEHAVIOUR...

PSK is in hexadecimal digits; without any it shows its certificate. Says its port on standard output. When the handshake is over it sends "hello", and then, unless told otherwise, sends back what it
receives until the device closes. Written from RFC 8446 alone, on the module `cryptography`.
"""

import hashlib
import hmac
import os
import socket
import struct
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ALERT, HANDSHAKE, DATA = 21, 22, 23


def vector(size, data):
    return len(data).to_bytes(size, "big") + data


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def expand(secret, label, context=b"", length=32):
    info = struct.pack("!H", length) + vector(1, b"tls13 " + label) + vector(1, context)
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


def sha256(data):
    return hashlib.sha256(data).digest()


class Keys:
    def __init__(self, secret):
        self.secret = secret
        self.cipher = ChaCha20Poly1305(expand(secret, b"key"))
        self.iv = int.from_bytes(expand(secret, b"iv", length=12), "big")
        self.count = 0

    def nonce(self):
        self.count += 1
        return (self.iv ^ (self.count - 1)).to_bytes(12, "big")

    def seal(self, kind, data, padding=0):
        text = data + bytes([kind]) + bytes(padding)
        header = struct.pack("!BHH", DATA, 0x303, len(text) + 16)
        return header + self.cipher.encrypt(self.nonce(), text, header)

    def open(self, header, data):
        text = self.cipher.decrypt(self.nonce(), data, header).rstrip(b"\0")
        return text[-1], text[:-1]

    def update(self):
        self.__init__(expand(self.secret, b"traffic upd"))


class Server:
    def __init__(self, how, connection, chain, key, psk):
        self.how, self.connection, self.chain, self.key, self.psk = how, connection, chain, key, psk
        self.reading = self.writing = None
        self.transcript = b""

    def receive(self):
        header = self.exactly(5)
        data = self.exactly(struct.unpack("!H", header[3:])[0])
        sealed = self.reading and header[0] == DATA
        kind, data = self.reading.open(header, data) if sealed else (header[0], data)
        if kind == ALERT:
            raise EOFError
        return kind, data

    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.connection.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(self, kind, data, size=4096, padding=0):
        for at in range(0, len(data) or 1, size):
            piece = data[at : at + size]
            if self.writing:
                record = self.writing.seal(kind, piece, padding)
            else:
                record = struct.pack("!BHH", kind, 0x303, len(piece)) + piece
            self.connection.sendall(record)

    def say(self, *messages):
        """Handshake messages, in records of their own or as told."""
        if self.how == "one byte a record":
            self.send(HANDSHAKE, b"".join(messages), size=1)
        elif self.how == "all in one record":
            self.send(HANDSHAKE, b"".join(messages), size=16384)
        elif self.how == "much padding":
            self.send(HANDSHAKE, b"".join(messages), size=2000, padding=250)
        else:
            for each in messages:
                self.send(HANDSHAKE, each)
        for each in messages:
            self.transcript += each

    def run(self):
        how = self.how
        kind, hello = self.receive()
        assert kind == HANDSHAKE and hello[0] == 1
        self.transcript = hello
        if how == "plain HTTP":
            self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nspeak TLS\r\n")
            return
        if how == "closes at once":
            return
        # The share is the extension 51 with one entry of secp256r1.
        mark = b"\0\x33\0\x47\0\x45\0\x17\0\x41"
        at = hello.index(mark) + len(mark)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), hello[at : at + 65])
        ephemeral = ec.generate_private_key(ec.SECP256R1())
        shared = ephemeral.exchange(ec.ECDH(), peer)
        own = ephemeral.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        if how == "a point that is not on the curve":
            own = own[:-1] + bytes([own[-1] ^ 1])
        session = b"\1" if how == "a session of its own" else b""
        suite = b"\x13\x01" if how == "a suite that was not offered" else b"\x13\x03"
        random = os.urandom(32)
        if how == "wants another hello":
            random = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
        version = b"\3\3" if how == "a version that was not offered" else b"\3\4"
        extensions = b"\0\x2b" + vector(2, version)
        if how != "no share":
            extensions += b"\0\x33" + vector(2, b"\0\x17" + vector(2, own))
        if self.psk or how == "takes a key that was not offered":
            extensions += b"\0\x29" + vector(2, b"\0\1" if how == "takes another key" else b"\0\0")
        if how == "an extension twice":
            extensions += b"\0\x2b" + vector(2, version)
        body = b"\3\3" + random + vector(1, session) + suite + b"\0" + vector(2, extensions)
        if how == "TLS 1.2":
            body = b"\3\3" + random + b"\0" + b"\xc0\x2b" + b"\0"
        server_hello = message(2, body)
        if how == "goes on with the old keys":
            self.send(HANDSHAKE, server_hello + message(8, vector(2, b"")))
            return
        if how.startswith("change cipher spec"):
            self.say(server_hello)
            for _ in range(100 if how.endswith("without end") else 1):
                self.send(20, b"\1")
        elif how == "cut off in the hello":
            self.send(HANDSHAKE, server_hello[:40])
            return
        else:
            self.say(server_hello)

        early = hmac.digest(bytes(32), self.psk or bytes(32), "sha256")
        handshake = hmac.digest(expand(early, b"derived", sha256(b"")), shared, "sha256")
        self.writing = Keys(expand(handshake, b"s hs traffic", sha256(self.transcript)))
        self.reading = Keys(expand(handshake, b"c hs traffic", sha256(self.transcript)))
        if how == "wrong keys":
            self.writing = Keys(bytes(32))

        extra = {
            "an extension that was not asked for": b"\0\x10" + vector(2, vector(2, vector(1, b"h2"))),
            "another record size": b"\0\1" + vector(2, b"\1"),
        }.get(how, b"")
        if how == "an answer twice":
            extra = 2 * (b"\0\1" + vector(2, b"\4"))
        extensions = message(8, vector(2, extra))
        # signed_certificate_timestamp, which is not asked for.
        entry = b"\0\x12" + vector(2, b"\0\0") if how == "an extension of a certificate" else b""
        entries = b"".join(vector(3, each) + vector(2, entry) for each in self.chain)
        if how == "an empty list of certificates":
            entries = b""
        if how == "a very long chain":
            entries += 5 * (vector(3, self.chain[0]) + vector(2, b""))
        if how == "a huge certificate":
            entries += vector(3, bytes(14000)) + vector(2, b"")
        if how == "a certificate cut off":
            entries = vector(3, self.chain[0][:200]) + vector(2, b"")
        certificate = message(11, vector(1, b"") + vector(3, entries))
        if how == "no certificate" or self.psk:
            self.say(extensions)
        elif how == "data in the handshake":
            self.say(extensions)
            self.send(DATA, b"hello")
            return
        elif how == "asks twice for a certificate":
            request = message(13, vector(1, b"") + vector(2, b"\0\x0d" + vector(2, vector(2, b"\4\3"))))
            self.say(extensions, request, request)
        elif how == "asks without saying how":
            self.say(extensions, message(13, vector(1, b"") + vector(2, b"")), certificate)
        elif how == "asks for a certificate":
            request = message(13, vector(1, b"") + vector(2, b"\0\x0d" + vector(2, vector(2, b"\4\3"))))
            self.say(extensions, request, certificate)
        elif how == "another record within a message":
            self.send(HANDSHAKE, extensions[:3])
            self.send(DATA, b"hello")
            return
        elif how == "extensions left out":
            self.say(certificate)
        else:
            self.say(extensions, certificate)
        if how not in ("no certificate", "no proof", "proof left out for data") and not self.psk:
            context = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
            if how == "the client's proof":
                context = context.replace(b"server", b"client")
            transcript = sha256(self.transcript)
            key = self.key
            if how == "proof of another handshake":
                transcript = sha256(b"another")
            if how == "proof by another key":
                key = ec.generate_private_key(ec.SECP256R1())
            signature = key.sign(context + transcript, ec.ECDSA(hashes.SHA256()))
            scheme = b"\5\3" if how == "proof by another scheme" else b"\4\3"
            if how == "a proof that is no signature":
                signature = b"\x30\6\2\1\0\2\1\0"
            self.say(message(15, scheme + vector(2, signature)))
        if how == "proof left out for data":
            self.send(DATA, b"hello")
            return
        finished = hmac.digest(expand(self.writing.secret, b"finished"), sha256(self.transcript), "sha256")
        if how == "a wrong end":
            finished = bytes(32)
        if how == "a short end":
            finished = finished[:31]
        if how == "more behind the end":
            self.send(HANDSHAKE, message(20, finished) + message(4, b"")[:2])
            return
        self.say(message(20, finished))

        master = hmac.digest(expand(handshake, b"derived", sha256(b"")), bytes(32), "sha256")
        client, server = (
            Keys(expand(master, label, sha256(self.transcript))) for label in (b"c ap traffic", b"s ap traffic")
        )
        self.writing = server
        if how == "data before the device is through":
            self.send(DATA, b"hello")
        flight = b""
        while True:
            kind, data = self.receive()
            assert kind == HANDSHAKE, (kind, data)
            flight += data
            rest = flight
            while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[1:4], "big"):
                length = 4 + int.from_bytes(rest[1:4], "big")
                done, rest = rest[:length], rest[length:]
                if done[0] == 20:
                    break
            else:
                continue
            break
        assert flight.endswith(done)
        expected = hmac.digest(
            expand(self.reading.secret, b"finished"), sha256(self.transcript + flight[: -len(done)]), "sha256"
        )
        assert done[4:] == expected
        self.reading = client
        self.afterwards()

    def afterwards(self):
        how = self.how
        ticket = message(4, bytes(8) + vector(1, b"n") + vector(2, b"t" * 3000) + vector(2, b""))
        update, answered_update = message(24, b"\0"), message(24, b"\1")
        if how == "tickets":
            self.send(HANDSHAKE, ticket + ticket, size=700)
        if how == "new keys":
            for each in (update, answered_update, update):
                self.send(HANDSHAKE, each)
                self.writing.update()
        if how == "new keys in the middle of a record":
            self.send(HANDSHAKE, update + ticket)
            return
        if how == "another handshake":
            self.send(HANDSHAKE, message(0, b""))
            return
        if how == "wants a certificate later":
            self.send(HANDSHAKE, message(13, vector(1, b"x") + vector(2, b"")))
            return
        if how == "an update of another kind":
            self.send(HANDSHAKE, message(24, b"\2"))
            return
        if how.startswith("empty records"):
            for _ in range(100 if how.endswith("without end") else 20):
                self.send(DATA, b"")
        if how == "new keys without end":
            for _ in range(100):
                self.send(HANDSHAKE, update)
                self.writing.update()
        if how == "tickets without end":
            for _ in range(100):
                self.send(HANDSHAKE, message(4, b""))
        if how == "an empty handshake record":
            self.send(HANDSHAKE, b"")
            return
        if how == "nothing but padding":
            self.connection.sendall(self.writing.seal(0, b"", 30))
            return
        if how == "a record in the clear":
            self.connection.sendall(struct.pack("!BHH", DATA, 0x303, 5) + b"hello")
            return
        if how == "an alert in the clear":
            self.connection.sendall(struct.pack("!BHH", ALERT, 0x303, 2) + b"\1\0")
            return
        if how == "a record too large":
            self.connection.sendall(struct.pack("!BHH", DATA, 0x303, 16384 + 257))
            return
        if how == "the same record twice":
            record = self.writing.seal(DATA, b"hello")
            self.connection.sendall(record + record)
            return
        if how == "a flipped bit":
            record = bytearray(self.writing.seal(DATA, b"hello"))
            record[7] ^= 4
            self.connection.sendall(record)
            return
        if how == "records of 16 KiB":
            self.send(DATA, bytes(16384) * 3, size=16384)
        if how == "an alert":
            self.send(ALERT, b"\2\x50")
            return
        if how != "data before the device is through":
            self.send(DATA, b"hello")
        if how == "closes without a word":
            return
        if how == "closes":
            self.send(ALERT, b"\1\0")
            return
        while True:
            kind, data = self.receive()
            if kind == HANDSHAKE:
                assert data == update, data
                self.reading.update()
                self.send(DATA, b"updated")
            elif kind == DATA:
                self.send(DATA, data)
            else:
                return


def main():
    chain, key, psk = sys.argv[1:4]
    psk = bytes.fromhex(psk)
    certificates = x509.load_pem_x509_certificates(open(chain, "rb").read())
    chain = [each.public_bytes(serialization.Encoding.DER) for each in certificates]
    key = serialization.load_pem_private_key(open(key, "rb").read(), None)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    for how in sys.argv[4:]:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            Server(how, connection, chain, key, psk).run()
            connection.shutdown(socket.SHUT_WR)
            # The device's alert, if it sends one: a reset would take away what it has not read.
            while connection.recv(4096):
                pass
        except (EOFError, ConnectionError):
            pass
        connection.close()


main()
