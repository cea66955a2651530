"""The blocks room: how tensors are cut into blocks, padded, and pasted back. Never knows what is done to the blocks."""

from weightzip.blocks.chunks import Chunks, cut, paste

__all__ = ["Chunks", "cut", "paste"]
