"""The entropy room: integers in, bytes out, and back.

Knows symbols, scale classes, integer frequency tables and ANS. Never knows what a symbol stands for, nor whose it is.

    symbols, classes --split--> buckets + extra bits --count--> tables --ANS--> bytes

Tables hold integers alone and travel with the data, so decoding needs no floating-point model and is the same on every
machine (Duda 2013 for ANS; Bamler 2022 for the coder used, constriction).
"""

from weightzip.entropy.coder import code_lengths, decode, encode
from weightzip.entropy.integers import decode_integers, encode_integers, read_integers

__all__ = ["code_lengths", "decode", "decode_integers", "encode", "encode_integers", "read_integers"]
