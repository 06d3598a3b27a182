#!/usr/bin/env python3
"""Reads and verifies an Otaria package with nothing but the standard library and PyPI's `cryptography`.

A second implementation of the format, written from its description and sharing no code with the first, so that a
misreading in one shows as a disagreement between the two.

    verify_package.py PACKAGE PUBLIC_KEY.pem [--image OUT]

Exit code 0: the package is good; its fields are printed as JSON. 1: it is not; the reason is on standard error.
2: wrong usage, or a file cannot be read.
"""

import argparse
import hashlib
import json
import struct
import sys
import zlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

MAGIC = b"OTARIAP1"
HEADER_LEN = 320
SIGNED_LEN = 256
DOMAIN = b"otaria package v1\0"
ENTRY_LEN = 36
COSIGNATURE_LEN = 72
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


def key_id_of(public_key):
    point = public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return hashlib.sha256(point).digest()[:8]


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
    check(cipher == 0, f"cipher {cipher} is not known to this script")
    check(algorithm == 1, f"signature algorithm {algorithm} is unknown")
    check(max_rev in (0, 0xFFFF) or min_rev <= max_rev, "no chip revision fits")
    check(image_len > 0, "the image is empty")
    check(block_len in (4096, 8192, 12288, 16384), f"block_len is {block_len}")
    blocks = -(-image_len // block_len)
    check(table_len == ENTRY_LEN * blocks, f"table_len is {table_len}, not {ENTRY_LEN} x {blocks}")
    check(table_len <= block_len, "the table is longer than a block")
    check(base_sha256 == bytes(32), "a base image without a delta")
    check(recipients_len == 0 and recipients == 0 and kem == 0, "recipients without a cipher")
    check(recipients_digest == bytes(24), "recipients without a cipher")
    fields = {
        "flags": flags, "codec": codec, "chip_id": chip, "min_chip_rev": min_rev, "max_chip_rev": max_rev,
        "security_version": security_version, "image_len": image_len, "block_len": block_len, "blocks": blocks,
        "sequence": sequence, "created": created, "key_id": key_id.hex(), "image_sha256": image_sha256.hex(),
        "product": text(product, "product"), "version": text(version, "version"),
        "identity": hashlib.sha256(data[:SIGNED_LEN]).hexdigest(),
    }  # fmt: skip
    check(key_id == key_id_of(public_key), f"signed by key {key_id.hex()}, not by {key_id_of(public_key).hex()}")
    message = DOMAIN + data[:SIGNED_LEN]
    check_signature(public_key, data[SIGNED_LEN:HEADER_LEN], message, "the signature")
    return fields, table_sha256, table_len, message


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


def verify(data, public_key):
    fields, table_sha256, table_len, _ = read_header(data, public_key)
    table = data[HEADER_LEN : HEADER_LEN + table_len]
    check(len(table) == table_len, "truncated inside the block table")
    check(hashlib.sha256(table).digest() == table_sha256, "the block table is damaged")
    at = HEADER_LEN + table_len
    if fields["flags"] & 1:
        at = read_cosignatures(data, at, bytes.fromhex(fields["key_id"]))
    image = bytearray()
    for block in range(fields["blocks"]):
        stored_len, sha256 = struct.unpack_from("<I32s", table, block * ENTRY_LEN)
        check(0 < stored_len <= fields["block_len"] + 64, f"block {block} has the impossible length {stored_len}")
        stored = data[at : at + stored_len]
        check(len(stored) == stored_len, f"truncated inside block {block}: the file ends at byte {len(data)}")
        check(hashlib.sha256(stored).digest() == sha256, f"block {block} at byte {at} is damaged")
        plain_len = min(fields["block_len"], fields["image_len"] - len(image))
        image += decode(stored, plain_len, fields["codec"], block)
        at += stored_len
    check(at == len(data), f"{len(data) - at} bytes follow the end of the package at byte {at}")
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
    parser.add_argument("--image", help="write the plain app image here")
    arguments = parser.parse_args()
    try:
        with open(arguments.package, "rb") as file:
            data = file.read()
        with open(arguments.public_key, "rb") as file:
            public_key = serialization.load_pem_public_key(file.read())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
        print("error: not a P-256 key", file=sys.stderr)
        return 2
    try:
        fields, image = verify(data, public_key)
    except Refused as reason:
        print(f"refused: {reason}", file=sys.stderr)
        return 1
    if arguments.image:
        with open(arguments.image, "wb") as file:
            file.write(image)
    json.dump(fields, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
