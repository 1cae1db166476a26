"""Checksums and three parity rows by ISA-L. Input: a JSON list of equally long hexadecimal shards."""
import ctypes
import ctypes.util
import json
import sys

name = ctypes.util.find_library("isal")
if name is None:
    sys.exit(3)
isal = ctypes.CDLL(name)
isal.crc32_iscsi.restype = ctypes.c_uint32

shards = [bytes.fromhex(shard) for shard in json.load(sys.stdin)]
count, length, rows = len(shards), len(shards[0]), 3


def power(exponent):
    value = 1
    for _ in range(exponent):
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return value


matrix = bytes(power(row * column % 255) for row in range(rows) for column in range(count))
tables = ctypes.create_string_buffer(32 * count * rows)
isal.ec_init_tables(count, rows, ctypes.c_char_p(matrix), tables)
data = [ctypes.create_string_buffer(shard, length) for shard in shards]
parity = [ctypes.create_string_buffer(length) for _ in range(rows)]
pointers = lambda buffers: (ctypes.c_void_p * len(buffers))(*[ctypes.addressof(buffer) for buffer in buffers])
isal.ec_encode_data(length, count, rows, tables, pointers(data), pointers(parity))

checksums = [isal.crc32_iscsi(buffer, length, ctypes.c_uint32(0xFFFFFFFF)) ^ 0xFFFFFFFF for buffer in data]
json.dump({"crc": checksums, "parity": [buffer.raw.hex() for buffer in parity]}, sys.stdout)
