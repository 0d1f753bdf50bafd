"""Inputs for ``fuzz_readers.py``: what is done to the small checkpoints of ``fuzz_seeds.py``.

An input is made of its number and the seed alone. What has been changed inside a checksum is summed again in most
inputs, since else little but the checksum would be tried.
"""

import hashlib
import io
import json
import pickle
import pickletools
import random
import struct
import warnings
import zipfile
import zlib

from fuzz_pickles import SIZES, opcodes, soup

from weight_convert.emit import JITTOR_END


def made(number, seed, files):
    """The bytes of an input."""
    draw = random.Random(f"{seed}/{number}")
    name = draw.choice(sorted(files))
    data = files[name]
    if data[:2] == b"PK":
        kinds = [_bytes, _zip_fields, _zip_pickle, _zip_pickle, _zip_members, _two_zips]
    elif name.endswith(".safetensors"):
        kinds = [_bytes, _json]
    else:
        kinds = [_bytes, _pickles, _pickles, _pickles]
    if draw.random() < 0.1:
        return _wrapped(draw, soup(draw))
    data = draw.choice(kinds)(draw, data, files)
    return _bytes(draw, data, files) if draw.random() < 0.05 else data


def _bytes(draw, data, files):
    """Changes that know nothing of the format."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at, size = draw.randrange(len(data) + 1), draw.choice([1, 2, 4, 8, draw.randrange(1, 200)])
        if draw.random() < 0.3:
            at = min(at, draw.randrange(100))
        other = files[draw.choice(sorted(files))]
        other_at = draw.randrange(len(other))
        match draw.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(data):
                data[at] = draw.randrange(256)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * draw.choice([1, 2, 50])
            case 5:
                data[at : at + size] = other[other_at : other_at + size]
            case 6:
                data[at:] = other[other_at:]
            case 7:
                data[at : at + size] = draw.choice(SIZES).to_bytes(8, draw.choice(["little", "big"]))[:size]
    if draw.random() < 0.5 and data[-8:] == JITTOR_END and len(data) > 28:
        data[-28:-8] = hashlib.sha1(data[:-28]).digest()
    return _resummed(bytes(data)) if draw.random() < 0.5 and data[:2] == b"PK" else bytes(data)


def _resummed(data):
    """A zip archive with its checksums made right, or what could not be made so as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            infos = zipfile.ZipFile(io.BytesIO(data)).infolist()
        except Exception:
            return data
    data = bytearray(data)
    for info in infos:
        at = info.header_offset
        if data[at : at + 4] != b"PK\x03\x04" or info.file_size > len(data) or len(data) < at + 30:
            continue
        names = struct.unpack_from("<HH", data, at + 26)
        start = at + 30 + sum(names)
        old = struct.pack("<I", info.CRC)
        new = struct.pack("<I", zlib.crc32(data[start : start + info.file_size]))
        directory = data.find(b"PK\x01\x02")
        while directory >= 0:
            if data[directory + 16 : directory + 20] == old:
                data[directory + 16 : directory + 20] = new
                break
            directory = data.find(b"PK\x01\x02", directory + 4)
    return bytes(data)


def _zip_fields(draw, data, files):
    """Changed fields of the archive's headers; its checksums stay."""
    data = bytearray(data)
    marks = [m for m in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08")]
    places = [at for mark in marks for at in range(len(data)) if data[at : at + 4] == mark]
    for _ in range(draw.choice([1, 1, 2, 4])):
        at = draw.choice(places) + draw.randrange(0, 48)
        size = draw.choice([1, 2, 2, 4, 4, 8])
        value = draw.choice([*SIZES, len(data), len(data) - 1, at, draw.randrange(len(data)), draw.randrange(64)])
        data[at : at + size] = value.to_bytes(8, "little")[:size]
    return bytes(data)


def _zip_members(draw, data, files):
    """The archive written again with members renamed, doubled, emptied, exchanged or left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    for _ in range(draw.choice([1, 2])):
        at = draw.randrange(len(members))
        name, value = members[at]
        match draw.randrange(6):
            case 0:
                others = [
                    name.replace("data/", ""),
                    "../" + name,
                    "x/data.pkl",
                    "/etc/x",
                    "é",
                    name.upper(),
                    "x/" + name,
                ]
                members[at] = draw.choice([*others, "é", name + "\x1b[2J", name[:-1] or "x"]), value
            case 1:
                other = draw.choice(members)[0]
                members.insert(draw.randrange(len(members)), (draw.choice([other, other.upper()]), value))
            case 2:
                members[at] = name, draw.choice([b"", b"big", value[:-1], value + b"\0", value * 3])
            case 3:
                other = draw.randrange(len(members))
                members[at], members[other] = (name, members[other][1]), (members[other][0], value)
            case 4 if len(members) > 1:
                del members[at]
            case 5:
                extra = ["byteorder", "constants.pkl", "version", "data/9", "code/x.py", ".format_version"]
                members.append((name.split("/")[0] + "/" + draw.choice(extra), draw.choice([b"big", b"1", value])))
    return _zipped(draw, members)


def _zipped(draw, members):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", draw.choice([0, 0, 0, 0, 8])) as archive:
        warnings.simplefilter("ignore")
        for name, value in members:
            archive.writestr(name, value)
    return buffer.getvalue()


def _two_zips(draw, data, files):
    """Two archives of which either is found, as one trusts the place that the end tells of its directory or not."""
    other = _zip_pickle(draw, data, files)
    if draw.random() < 0.5:
        data, other = other, data
    (start, size), (_, more) = ((one.find(b"PK\x01\x02"), one.rfind(b"PK\x05\x06")) for one in (data, other))
    directory, end = other[other.find(b"PK\x01\x02") : more], bytearray(other[more:])
    end[12:20] = struct.pack("<2L", draw.choice([size - start, len(directory)]), start)
    return data[:size] + other[: other.find(b"PK\x01\x02")] + directory + bytes(end)


def _zip_pickle(draw, data, files):
    """The archive written again with another pickle."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    changed = [(n, opcodes(draw, v) if n.endswith("data.pkl") else v) for n, v in members]
    return _zipped(draw, changed)


def _pickles(draw, data, files):
    """Changed opcodes of one of the file's pickles."""
    tail = b""
    summed = data[-8:] == JITTOR_END
    if summed:
        data = data[:-28]
    parts = []
    while data[:1] == b"\x80":
        try:
            end = max(at for _, _, at in pickletools.genops(data)) + 1
        except Exception:
            break
        parts, data = [*parts, data[:end]], data[end:]
    tail = data
    at = draw.randrange(len(parts))
    parts[at] = opcodes(draw, parts[at])
    whole = b"".join(parts) + tail
    return whole + hashlib.sha1(whole).digest() + JITTOR_END if summed else whole


def _wrapped(draw, data):
    """A pickle as each of the formats holds it."""
    match draw.randrange(4):
        case 0:
            return data
        case 1:
            return data + hashlib.sha1(data).digest() + JITTOR_END
        case 2:
            return _zipped(draw, [("a/data.pkl", data), ("a/version", b"3\n"), ("a/data/0", b"\0" * 32)])
    system = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(value, 2) for value in system) + data + pickle.dumps(draw.choice([[], ["0"]]), 2)


_VALUES = [
    *SIZES, -1, None, True, 1.5, float("nan"), float("inf"), "", "F32", "F4", "BF16", "\x1b[2J", [], {}, [1], [2, 3],
    [0, 24], [24, 0], [-8, 0], [2**62, 4], [True, 8], [1.0, 8], "ab", {"a": 1}, [[1]], [2**31] * 3, [0, 2**62],
    10**4000,
]  # fmt: skip


def _json(draw, data, files):
    """Another header of a safetensors file, of the length that it says."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for _ in range(draw.choice([1, 1, 2, 4])):
        entry = header.get(draw.choice(sorted(header)))
        value = draw.choice(_VALUES)
        match draw.randrange(5):
            case 0 if isinstance(entry, dict):
                entry[draw.choice(["dtype", "shape", "data_offsets", "x"])] = value
            case 1 if isinstance(entry, dict) and entry:
                del entry[draw.choice(sorted(entry))]
            case 2:
                name = draw.choice(["w", "\x1b[2J", "", "__metadata__", "x" * 500, "\ud800"])
                header[name] = draw.choice([value, entry])
            case 3 if len(header) > 1:
                del header[draw.choice(sorted(header))]
            case 4:
                header["__metadata__"] = draw.choice([value, {"format": "pt", "\x1b[2J": "x"}, {"a": value}])
    text = json.dumps(header, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    deep = draw.choice([1, 50, 5000, 100_000])
    if draw.random() < 0.05:
        text = b'{"a":' * deep + b"1" + b"}" * deep
    elif draw.random() < 0.05:
        text = b'{"a":' + b"[" * deep + b"]" * deep + b"}"
    elif draw.random() < 0.05:
        text = text[:-1] + b"," + text[1:]
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
