"""Makes a cluster of a QCOW2 image leak: its refcount says 1 and nothing refers to it."""

import struct
import sys

with open(sys.argv[1], "r+b") as image:
    header = image.read(104)
    cluster_bits = struct.unpack_from(">I", header, 20)[0]
    table_at = struct.unpack_from(">Q", header, 48)[0]
    image.seek(table_at)
    block_at = struct.unpack(">Q", image.read(8))[0]
    image.seek(0, 2)
    last = (image.tell() >> cluster_bits) - 1
    # 16 bits a refcount, and few enough clusters for the first block.
    image.seek(block_at + 2 * last)
    image.write(struct.pack(">H", 1))
