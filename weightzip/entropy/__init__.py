"""The entropy room: integers in, bytes out, and back.

Knows symbols, scale classes, the machine that symbols drive, integer frequency tables and ANS. Never knows step sizes, nor
whose a symbol is.

    latents' symbols, classes --machine--> quantisers --magnitudes--> tables --streams: ANS--> bytes
    other integers, classes --buckets--> symbols + extra bits --tables--> tables --coder: ANS--> bytes
    bytes of weights that are kept exactly --rans--> tables + interleaved ANS
    short lists --integers: adaptive range coding--> bytes

Tables hold integers alone and travel with the data, so decoding needs no floating-point model and is the same on every
machine (Duda 2013 for ANS; `streams` and `rans` have their own coders, `coder` and `integers` use constriction, Bamler 2022).
"""

from weightzip.entropy.coder import decode, encode
from weightzip.entropy.integers import decode_integers, encode_integers, read_integers

__all__ = ["decode", "decode_integers", "encode", "encode_integers", "read_integers"]
