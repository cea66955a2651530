"""The container room: a .wz file as named sections behind one header.

format    what the bytes mean, and the limits
read      Container: a file or a byte string, checked before anything is taken from it
write     pack, and ContainerWriter for sections that come one after the other

Knows the format, its limits and its hashes. Never knows what a section means. docs/FORMAT.md has it all in words.
"""

from weightzip.container.format import MAGIC, MAX_HEADER_BYTES, MAX_HEADER_DEPTH, MAX_SECTIONS, VERSION, header_text, pack_head
from weightzip.container.read import Container, open_container, unpack
from weightzip.container.write import ContainerWriter, pack

__all__ = [
    "MAGIC",
    "MAX_HEADER_BYTES",
    "MAX_HEADER_DEPTH",
    "MAX_SECTIONS",
    "VERSION",
    "Container",
    "ContainerWriter",
    "header_text",
    "open_container",
    "pack",
    "pack_head",
    "unpack",
]
