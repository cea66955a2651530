"""The container room: a .wz file as bytes.

Knows the format, its limits and its hashes. Never knows what a section means.
"""

from weightzip.container.format import MAGIC, MAX_HEADER_BYTES, MAX_SECTIONS, Container, pack, unpack

__all__ = ["MAGIC", "MAX_HEADER_BYTES", "MAX_SECTIONS", "Container", "pack", "unpack"]
