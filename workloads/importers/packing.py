"""Compressed files: recognised by their first bytes, and unpacked as they are read."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from typing import Any, BinaryIO

from workloads import schema
from workloads.errors import TraceFileError

# Suffixes of the compressions that are read.
SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".zip")
MAGIC_BYTES = 6
_ZIP = b"PK\x03\x04"
_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz",
           _ZIP: "zip"}  # fmt: skip
_UNREAD = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x04\x22\x4d\x18": "lz4",
           b"\xff\x06\x00\x00sN": "snappy", b"\x1f\x9d": "compress"}  # fmt: skip
# What a damaged file raises.
ERRORS = (EOFError, zlib.error, OSError, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


def codec_of(start: bytes) -> str:
    """The compression of a file that begins like this, or nothing.

    Raises:
        TraceFileError: One that is not read here.
    """
    for magic, name in _UNREAD.items():
        if start.startswith(magic):
            raise TraceFileError(
                f"must be plain or compressed by {', '.join(_CODECS.values())}, but is {name}: "
                "unpack it first"
            )
    return next((name for magic, name in _CODECS.items() if start.startswith(magic)), "")


def unpacked(codec: str, packed: Any) -> Any:
    """What a file of this compression holds, to be read from front to back.

    Raises:
        TraceFileError: A zip of several files, or of none, or with a password.
        OSError, BadZipFile: It is damaged at its very start, or its end.
    """
    match codec:
        case "gzip":
            return gzip.GzipFile(fileobj=packed)
        case "bzip2":
            return bz2.BZ2File(packed)
        case "xz":
            return lzma.LZMAFile(packed)
        case "zstd":
            import pyarrow as pa

            return pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")
        case "zip":
            return _only_member(packed)
    return packed


def check_no_archive(start: bytes) -> None:
    """Raise TraceFileError for a tar archive, whatever it was compressed by."""
    if start[257:262] == b"ustar":
        raise TraceFileError("must be one trace, but is a tar archive: unpack it and name a file")


def _only_member(packed: BinaryIO) -> Any:
    # Its directory is at its end, and a pipe cannot be wound back.
    archive = zipfile.ZipFile(io.BytesIO(packed.read()))
    members = [
        member
        for member in archive.infolist()
        # macOS puts its own notes beside each file.
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        names = schema.shown(", ".join(member.filename for member in members))
        raise TraceFileError(
            f"must be a zip of one file, but has {len(members)}"
            + (f" ({names}): unpack it and name one" if members else "")
        )
    if members[0].flag_bits & 1:
        raise TraceFileError("must be a zip without a password: unpack it first")
    return io.BufferedReader(archive.open(members[0]))
