#!/usr/bin/env python3
"""Reads and verifies an Otaria package with nothing but the standard library and PyPI's `cryptography`.

A second implementation of the format, written from its description and sharing no code with the first, so that a
misreading in one shows as a disagreement between the two.

    verify_package.py PACKAGE PUBLIC_KEY.pem [--decrypt-key PRIVATE_KEY.pem] [--image OUT]

Exit code 0: the package is good; its fields are printed as JSON. 1: it is not; the reason is on standard error.
2: wrong usage, or a file cannot be read.
"""

import argparse
import hashlib
import hmac
import json
import struct
import sys
import zlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"OTARIAP1"
HEADER_LEN = 320
SIGNED_LEN = 256
DOMAIN = b"otaria package v1\0"
ENTRY_LEN = 36
COSIGNATURE_LEN = 72
RECIPIENT_LEN = 121
MAX_RECIPIENTS = 1024
TAG_LEN = 16
DHKEM_P256 = 0x0010
HPKE_INFO = b"otaria content key v1"
# magic, header_len, flags, codec, cipher, algorithm, zero, chip, min rev, max rev, zero, security version, image_len,
# block_len, table_len, sequence, created, key_id, image, table, base, product, version, recipients_len, recipients,
# kem, recipients digest
HEADER = struct.Struct("<8sHHBBBBHHHHIIIIQQ8s32s32s32s32s32sIHH24s")


class Refused(Exception):
    """The package is not good."""


def check(condition, reason):
    if not condition:
        raise Refused(reason)


def text(field, name):
    """A zero-padded field of printable ASCII, not empty."""
    value = field.rstrip(b"\0")
    check(value != b"", f"{name} is empty")
    check(all(0x20 <= byte <= 0x7E for byte in value), f"{name} is not printable ASCII")
    return value.decode("ascii")


def point_of(public_key):
    return public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def key_id_of(public_key):
    return hashlib.sha256(point_of(public_key)).digest()[:8]


def check_signature(public_key, signature, message, whose):
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public_key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Refused(f"{whose} is wrong") from None


def read_header(data, public_key):
    check(len(data) >= 8 and data[:8] == MAGIC, "this is not a package: the magic is missing")
    check(len(data) >= HEADER_LEN, f"truncated: {len(data)} bytes, the header has {HEADER_LEN}")
    (
        _, header_len, flags, codec, cipher, algorithm, zero1, chip, min_rev, max_rev, zero2, security_version, image_len,
        block_len, table_len, sequence, created, key_id, image_sha256, table_sha256, base_sha256, product, version,
        recipients_len, recipients, kem, recipients_digest,
    ) = HEADER.unpack(data[:SIGNED_LEN])  # fmt: skip
    check(header_len == HEADER_LEN, f"header_len is {header_len}")
    check(zero1 == 0 and zero2 == 0, "a byte that must be zero is not")
    check(flags & ~3 == 0, f"unknown flags {flags:#x}")
    check(codec in (0, 1), f"codec {codec} is not known to this script")
    check(cipher in (0, 1), f"cipher {cipher} is not known to this script")
    check(algorithm == 1, f"signature algorithm {algorithm} is unknown")
    check(max_rev in (0, 0xFFFF) or min_rev <= max_rev, "no chip revision fits")
    check(image_len > 0, "the image is empty")
    check(block_len in (4096, 8192, 12288, 16384), f"block_len is {block_len}")
    blocks = -(-image_len // block_len)
    check(table_len == ENTRY_LEN * blocks, f"table_len is {table_len}, not {ENTRY_LEN} x {blocks}")
    check(table_len <= block_len, "the table is longer than a block")
    check(base_sha256 == bytes(32), "a base image without a delta")
    if cipher == 0:
        check(recipients_len == 0 and recipients == 0 and kem == 0, "recipients without a cipher")
        check(recipients_digest == bytes(24), "recipients without a cipher")
    else:
        check(0 < recipients <= MAX_RECIPIENTS, f"{recipients} recipients")
        check(recipients_len == recipients * RECIPIENT_LEN, "the recipients have the wrong length")
        check(kem == DHKEM_P256, f"KEM {kem:#x} is not known to this script")
    fields = {
        "flags": flags, "codec": codec, "cipher": cipher, "recipients": recipients, "chip_id": chip, "min_chip_rev": min_rev, "max_chip_rev": max_rev,
        "security_version": security_version, "image_len": image_len, "block_len": block_len, "blocks": blocks,
        "sequence": sequence, "created": created, "key_id": key_id.hex(), "image_sha256": image_sha256.hex(),
        "product": text(product, "product"), "version": text(version, "version"),
        "identity": hashlib.sha256(data[:SIGNED_LEN]).hexdigest(),
    }  # fmt: skip
    check(key_id == key_id_of(public_key), f"signed by key {key_id.hex()}, not by {key_id_of(public_key).hex()}")
    message = DOMAIN + data[:SIGNED_LEN]
    check_signature(public_key, data[SIGNED_LEN:HEADER_LEN], message, "the signature")
    return fields, table_sha256, table_len, recipients_digest


def hmac_sha256(key, *parts):
    return hmac.digest(key, b"".join(parts), "sha256")


def hpke_open(private_key, encapsulated, info, bound_to, sealed):
    """RFC 9180, base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. No output is longer than a hash."""

    def extract(suite, salt, label, ikm):
        return hmac_sha256(salt, b"HPKE-v1", suite, label, ikm)

    def expand(suite, secret, label, context, length):
        return hmac_sha256(secret, struct.pack(">H", length), b"HPKE-v1", suite, label, context, b"\x01")[:length]

    kem, suite = b"KEM\x00\x10", b"HPKE\x00\x10\x00\x01\x00\x03"
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encapsulated)
    dh = private_key.exchange(ec.ECDH(), theirs)
    own = point_of(private_key.public_key())
    shared = expand(kem, extract(kem, b"", b"eae_prk", dh), b"shared_secret", encapsulated + own, 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    key, nonce = expand(suite, secret, b"key", context, 32), expand(suite, secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed, bound_to)


def read_recipients(data, at, fields, digest, private_key):
    """The content key, if there is a private key, and where the recipients end."""
    end = at + fields["recipients"] * RECIPIENT_LEN
    check(end <= len(data), "truncated inside the recipients")
    check(hashlib.sha256(data[at:end]).digest()[:24] == digest, "the recipients are damaged")
    if private_key is None:
        return None, end
    own = key_id_of(private_key.public_key())
    for start in range(at, end, RECIPIENT_LEN):
        key_id, encapsulated, sealed = struct.unpack_from("8s65s48s", data, start)
        if key_id == own:
            try:
                return hpke_open(private_key, encapsulated, HPKE_INFO, data[:96] + data[128:232], sealed), end
            except (InvalidTag, ValueError):
                raise Refused("the content key does not open") from None
    raise Refused(f"the package is not encrypted to key {own.hex()}")


def decrypt(data, stored, content_key, block):
    nonce = struct.pack("<I8x", block)
    try:
        return ChaCha20Poly1305(content_key).decrypt(nonce, stored, data[:96] + data[128:256])
    except InvalidTag:
        raise Refused(f"block {block} does not decrypt") from None


def read_cosignatures(data, at, signer):
    """Skips the co-signatures; their keys must differ from the signer's and from each other."""
    check(at < len(data), "truncated inside the co-signatures")
    count = data[at]
    check(count > 0, "co-signatures are announced, and there are none")
    end = at + 1 + count * COSIGNATURE_LEN
    check(end <= len(data), "truncated inside the co-signatures")
    keys = [data[i : i + 8] for i in range(at + 1, end, COSIGNATURE_LEN)]
    check(len(set(keys)) == count and signer not in keys, "a key signed twice")
    return end


def decode(stored, plain_len, codec, block):
    if codec == 0:
        plain = stored
    else:
        decoder = zlib.decompressobj(wbits=-15)
        try:
            plain = decoder.decompress(stored, plain_len + 1)
        except zlib.error as error:
            raise Refused(f"block {block} does not decode: {error}") from None
        check(len(plain) <= plain_len, f"block {block} decodes to more than {plain_len} bytes")
        check(decoder.eof, f"block {block} ends too early")
        check(decoder.unused_data == b"", f"block {block} has bytes behind its end")
    check(len(plain) == plain_len, f"block {block} decodes to {len(plain)} bytes, not {plain_len}")
    return plain


def read_image_descriptor(image):
    """The app descriptor: header 24, first segment header 8, then magic, secure version, ..., version, project."""
    check(len(image) >= 288 and image[0] == 0xE9, "the image is not an ESP image")
    magic, secure_version = struct.unpack_from("<II", image, 32)
    check(magic == 0xABCD5432, "the image has no app descriptor")
    version = image[48:80].split(b"\0")[0].decode("ascii", "replace")
    project = image[80:112].split(b"\0")[0].decode("ascii", "replace")
    return secure_version, version, project


def verify(data, public_key, private_key=None):
    """The header's fields and the plain image; of an encrypted package without a private key, no image."""
    fields, table_sha256, table_len, recipients_digest = read_header(data, public_key)
    table = data[HEADER_LEN : HEADER_LEN + table_len]
    check(len(table) == table_len, "truncated inside the block table")
    check(hashlib.sha256(table).digest() == table_sha256, "the block table is damaged")
    at = HEADER_LEN + table_len
    encrypted, content_key = fields["cipher"] != 0, None
    if encrypted:
        content_key, at = read_recipients(data, at, fields, recipients_digest, private_key)
    if fields["flags"] & 1:
        at = read_cosignatures(data, at, bytes.fromhex(fields["key_id"]))
    image = bytearray()
    for block in range(fields["blocks"]):
        stored_len, sha256 = struct.unpack_from("<I32s", table, block * ENTRY_LEN)
        check(0 < stored_len <= fields["block_len"] + 64, f"block {block} has the impossible length {stored_len}")
        stored = data[at : at + stored_len]
        check(len(stored) == stored_len, f"truncated inside block {block}: the file ends at byte {len(data)}")
        check(hashlib.sha256(stored).digest() == sha256, f"block {block} at byte {at} is damaged")
        at += stored_len
        if encrypted and content_key is None:
            continue
        encoded = decrypt(data, stored, content_key, block) if encrypted else stored
        plain_len = min(fields["block_len"], fields["image_len"] - len(image))
        image += decode(encoded, plain_len, fields["codec"], block)
    check(at == len(data), f"{len(data) - at} bytes follow the end of the package at byte {at}")
    if encrypted and content_key is None:
        return fields, None
    check(hashlib.sha256(image).hexdigest() == fields["image_sha256"], "the image's SHA-256 is not the signed one")
    said = (fields["security_version"], fields["version"], fields["product"])
    found = read_image_descriptor(image)
    check(found == said, f"the header says {said}, the image {found}")
    check(struct.unpack_from("<H", image, 12)[0] == fields["chip_id"], "header and image name different chips")
    return fields, bytes(image)


def main():
    parser = argparse.ArgumentParser(description="Verify an Otaria package.")
    parser.add_argument("package")
    parser.add_argument("public_key")
    parser.add_argument("--decrypt-key", help="open an encrypted package with this private key (PEM, no passphrase)")
    parser.add_argument("--image", help="write the plain app image here")
    arguments = parser.parse_args()
    try:
        with open(arguments.package, "rb") as file:
            data = file.read()
        with open(arguments.public_key, "rb") as file:
            public_key = serialization.load_pem_public_key(file.read())
        private_key = None
        if arguments.decrypt_key:
            with open(arguments.decrypt_key, "rb") as file:
                private_key = serialization.load_pem_private_key(file.read(), None)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
        print("error: not a P-256 key", file=sys.stderr)
        return 2
    try:
        fields, image = verify(data, public_key, private_key)
    except Refused as reason:
        print(f"refused: {reason}", file=sys.stderr)
        return 1
    if arguments.image and image is None:
        print("error: the package is encrypted; give --decrypt-key", file=sys.stderr)
        return 2
    if arguments.image:
        with open(arguments.image, "wb") as file:
            file.write(image)
    json.dump(fields, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
