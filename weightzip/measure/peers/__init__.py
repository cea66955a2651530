"""What other codecs' interpreters run: each peer on one checkpoint, in a process of its own.

Nothing of weightzip is imported here, since peers live in environments of their own, with the libraries they need (NNCodec
wants numpy below 2). Only the standard library and numpy are taken for granted, and Python 3.8.

weightzip --requests, one JSON object a line--> worker --setting--> nncodec, zipnn --bytes, seconds, memory--> weightzip
"""
