"""Pickles for ``fuzz_readers.py``: opcodes changed, exchanged and drawn at random, and calls of what must not run."""

import pickle
import pickletools
import struct

SIZES = [0, 1, 2, 7, 8, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
NAMES = [
    "os system", "posix system", "subprocess Popen", "builtins eval", "builtins exec", "builtins getattr",
    "builtins __import__", "builtins open", "builtins compile", "builtins map", "io open", "shutil rmtree",
    "importlib import_module", "operator attrgetter", "functools partial", "types CodeType", "types FunctionType",
    "pickle loads", "marshal loads", "socket socket", "ctypes CDLL", "numpy load", "numpy.f2py.crackfortran myeval",
    "torch load", "torch.hub load", "torch.storage _load_from_bytes", "torch.jit load", "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor", "torch._utils _rebuild_nested_tensor",
    "torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2", "torch Tensor", "torch Size",
    "torch._utils _rebuild_meta_tensor_no_storage", "torch device", "torch float32", "torch bfloat16", "torch qint8",
    "torch FloatStorage", "torch.storage UntypedStorage", "torch.nn.parameter Parameter",
    "torch.serialization _get_layout",
    "numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar",
    "numpy.core.multiarray scalar", "numpy.core.numeric _frombuffer", "_codecs encode", "ml_dtypes bfloat16",
    "jittor Var", "jittor_core Var", "argparse Namespace", "collections OrderedDict", "collections Counter",
    "collections defaultdict", "builtins set", "builtins frozenset", "builtins list", "builtins tuple",
    "builtins complex", "builtins bytes", "builtins bytearray", "builtins dict", "builtins type", "builtins object",
    "weight_convert.files os", "argparse Namespace.__class__", "os\x1b[2J system",
]  # fmt: skip


def _ops(data):
    """The pickle's opcodes with their arguments, as bytes."""
    starts = [at for _, _, at in pickletools.genops(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def opcodes(draw, data):
    """The pickle with a few of its opcodes changed."""
    ops = _ops(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at = draw.randrange(len(ops))
        match draw.randrange(9):
            case 0:
                ops[at] = draw.choice(_one(draw))
            case 8:
                values = [i for i, op in enumerate(ops) if op[:1] in b"N\x88\x89})]KMX\x8c"]
                if values:
                    at = draw.choice(values)
                    ops[at : at + 1] = draw.choice([_doubled, _nested, _laughs, _call])(draw)
            case 1:
                ops.insert(at, draw.choice(_one(draw)))
            case 2 if len(ops) > 1:
                del ops[at]
            case 3:
                other = draw.randrange(len(ops))
                ops[at], ops[other] = ops[other], ops[at]
            case 4:
                ops[at:at] = ops[at : at + draw.randrange(1, 12)]
            case 5:
                ops[at:at] = draw.choice(_GADGETS)(draw)
            case 6:
                names = [i for i, op in enumerate(ops) if op[:1] == b"c"]
                if names:
                    ops[draw.choice(names)] = _global(draw)
            case 7:
                numbers = [i for i, op in enumerate(ops) if op[:1] in b"KMJ\x8a"]
                if numbers:
                    ops[draw.choice(numbers)] = _number(draw)
    return b"".join(ops)


def _global(draw):
    return f"c{draw.choice(NAMES).replace(' ', chr(10))}\n".encode()


def _number(draw):
    value = draw.choice([*SIZES, -1, -(2**31), 3, 4, 5, draw.randrange(300), 2**4000])
    return pickle.dumps(value, 2)[2:-1]


def _text(draw):
    plain = ["", "storage", "0", "1", "cpu", "f4", "O8", "V8", "<", "|", "model", "items", "latin1"]
    text = draw.choice([*plain, "__class__", "\x1b[2J", "x" * 300, "\ud800", "../0", "true", "__setstate__"])
    return pickle.dumps(text, 2)[2:-3]


def _one(draw):
    """One opcode of every sort."""
    memo = bytes([draw.randrange(40)])
    codes = b"(01N\x88\x89]})\x8f\x85\x86\x87tledaseub\x90\x91R\x81Q\x94\x93.\x97\x98\x92io"
    simple = [bytes([code]) for code in codes]
    length = draw.choice(SIZES)
    return [
        *simple, _global(draw), _number(draw), _text(draw), b"h" + memo, b"q" + memo, b"j" + memo + b"\0\0\0",
        b"r" + length.to_bytes(8, "little")[:4], b"\x80" + memo, b"\x95" + length.to_bytes(8, "little"),
        b"G" + struct.pack(">d", draw.choice([0.0, 1e308, float("nan"), -1.0])),
        b"\x8e" + length.to_bytes(8, "little"), b"\x8d" + length.to_bytes(8, "little"), b"C\x04abcd",
        b"B" + length.to_bytes(8, "little")[:4], b"\x8b" + length.to_bytes(8, "little")[:4], b"\x8a\x00", b"U\x01a",
        b"\x96" + (3).to_bytes(8, "little") + b"abc", b"(ios\nsystem\n", b"S'a'\n", b"P1\n", b"I1\n", b"\x82\x01",
    ]  # fmt: skip


def _call(draw):
    """A call of a name with arguments of some sort."""
    arguments = [draw.choice(_one(draw)) for _ in range(draw.randrange(5))]
    return [_global(draw), b"(", *arguments, b"t", draw.choice([b"R", b"R", b"\x81", b"}\x92", b"b"])]


def _doubled(draw):
    """One value: a tuple that holds another twice, and so on."""
    return [b")q\xc80", *[b"h\xc8h\xc8\x86q\xc80"] * draw.choice([3, 30, 60]), b"h\xc8"]


def _nested(draw):
    count = draw.choice([10, 150, 250, 3000])
    lists, tuples = [b"]" * count, b"a" * (count - 1)], [b")", b"\x85" * count]
    return draw.choice([lists, tuples, [b"}", b"K\x01}" * count, b"s" * count]])


def _state(draw):
    return [b"}", _text(draw), draw.choice(_one(draw)), b"s", b"b"]


def _laughs(draw):
    """One value: a list that holds another ten times, and so on."""
    return [b"]q\xc90", *[b"](" + b"h\xc9" * 10 + b"eq\xc90"] * draw.choice([2, 12]), b"h\xc9"]


_GADGETS = [_call, _call, _call, _doubled, _nested, _state, _laughs]


def soup(draw):
    """A pickle of opcodes drawn one by one."""
    ops = [b"\x80" + bytes([draw.randrange(2, 6)])]
    for _ in range(draw.choice([3, 10, 40])):
        ops += draw.choice(_GADGETS)(draw) if draw.random() < 0.3 else [draw.choice(_one(draw))]
    return b"".join([*ops, b"."])
