"""Pictures: probe, read, encode, and files that are whole or not there.

Every reader of the package gets its pixels here, so size limits, EXIF turning and the
detection of damaged files are the same everywhere.
"""

from whatwhere.images.codec import (
    IMAGE_SUFFIXES,
    encode_image,
    probe_image,
    read_image,
    read_thumbnail,
    write_image,
)
from whatwhere.images.files import atomic_path, write_atomic
from whatwhere.images.headers import DEFAULT_MAX_PIXELS, ImageInfo
from whatwhere.images.members import (
    MAX_UNPACKED,
    Member,
    member,
    picture_bytes,
    picture_exists,
    result_name,
    shown_path,
    unpack_gzip,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IMAGE_SUFFIXES",
    "MAX_UNPACKED",
    "ImageInfo",
    "Member",
    "atomic_path",
    "encode_image",
    "member",
    "picture_bytes",
    "picture_exists",
    "probe_image",
    "read_image",
    "read_thumbnail",
    "result_name",
    "shown_path",
    "unpack_gzip",
    "write_atomic",
    "write_image",
]
