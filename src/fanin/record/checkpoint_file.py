"""A checksum in every checkpoint, as the comment at the end of the zip archive, which torch.load ignores.

torch does not check the bytes that it loads: a flipped bit would become another number, and the run would go on. As
part of the file the checksum is always replaced together with the content.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path

COMMENT = b"crc32=%08x"
LENGTH = len(COMMENT % 0)
END = b"PK\x05\x06"
"""What the last record of a zip archive begins with; 22 bytes long, it ends with the length of the comment."""


def sealed(content: bytes | memoryview) -> bytes:
    """A checkpoint with its checksum: CRC-32 of what comes before it. What is no zip archive stays as it is."""
    if content[-22:-18] != END or content[-2:] != b"\0\0":
        return bytes(content)
    body = bytes(content[:-2]) + struct.pack("<H", LENGTH)
    return body + COMMENT % zlib.crc32(body)


def damage(path: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint; None if they are as they were written.

    A file without this checksum, of an older version or another program, is checked by the checksums that a zip archive
    has of its parts.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    told = re.fullmatch(rb"crc32=([0-9a-f]{8})", content[-LENGTH:])
    if told:
        same = zlib.crc32(memoryview(content)[:-LENGTH]) == int(told[1], 16)
        return None if same else "its bytes are not those that were written (CRC-32)"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError, struct.error) as error:
        return f"it is no whole archive ({error})"
    return f"{broken} in it is not as it was written (CRC-32)" if broken else None
