"""Reading and writing elements."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_MAPS = "x = np.arange(70, dtype=np.float32).reshape(2, 5, 7)"
_PAIRS = "b = np.array([0, 0, 1]); s = np.array([4, 2, 1])"
_CHECKED = "if (i.numpy() >= len(x)).any(): raise IndexError('index out of range')\n"

INDEXING = Theme(
    "Indexing",
    (
        Gotcha(
            "index-pairs",
            "Two index tensors are taken in pairs, not as a Cartesian product",
            "Nothing differs, whatever has been written: element k of the result is x[b[k], s[k]] in both. Rewriting "
            "such an index as a flat one is harmless and needless.",
            torch="x[b, s]",
            naive="x[b, s]",
            inputs=f"{_MAPS}; {_PAIRS}",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "index-pairs-assignment",
            "An assignment through two index tensors goes to the pairs as well",
            "Nothing differs: target_classes[idx] = target_classes_o of the set criterion means the same in both.",
            torch="t = torch.full((2, 5), 91)\nt[b, s] = v\nt",
            naive="t = jt.full((2, 5), 91)\nt[b, s] = v\nt",
            inputs=f"{_PAIRS}; v = np.array([7, 8, 9])",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "index-product",
            "A Cartesian product must be asked for, in both",
            "Only an index of a column and one of a row, broadcast against each other, select a product. A port that "
            "expects the product of two flat indices gets their pairs.",
            torch="x[b[:, None], s[None, :]].shape",
            naive="x[b, s].shape",
            correct="x[b[:, None], s[None, :]].shape",
            inputs=f"{_MAPS}; {_PAIRS}",
        ),
        Gotcha(
            "index-pairs-cuda",
            "Pairs on a GPU",
            "It is pairwise there too, read and written, as seen on an H200; an assignment through an index that names "
            "one cell twice is a race.",
            not_run="needs a GPU",
        ),
        Gotcha(
            "index-list",
            "A list of indices is one index, a tuple is several",
            "Jittor stacks a list of Vars into one index of the first axis. The result has another shape, and since "
            "nothing is checked, values meant for the second axis read past the end of the first.",
            torch="x[(b, s)]",
            naive="x[[b, s]]",
            correct="x[(b, s)]",
            inputs=f"{_MAPS}; b = np.array([0, 0, 1]); s = np.array([1, 0, 1])",
        ),
        Gotcha(
            "index-out-of-range",
            "An index past the end is read, not refused",
            "Only Python integers are checked. A Var that is too large reads whatever lies behind the array, without "
            "a word; a wrong class label or a query number becomes a random loss.",
            torch="x[i]",
            naive="x[i]",
            correct=_CHECKED + "x[i]",
            inputs="x = np.ones((2, 5), np.float32); i = np.array([3])",
            hazardous=True,
            undefined=True,
        ),
        Gotcha(
            "index-far-out-of-range",
            "An index far past the end ends the process",
            "The address need not exist at all; then the process ends by a segmentation fault, which looks like a "
            "broken installation.",
            torch="x[i]",
            naive="x[i].numpy()",
            correct=_CHECKED + "x[i]",
            inputs="x = np.ones((2, 5), np.float32); i = np.array([10**9])",
            relation=Relation.DIES,
            hazardous=True,
        ),
        Gotcha(
            "index-out-of-range-assignment",
            "An assignment past the end of a row lands in the next row",
            "Nothing is checked here either: the value is written where the sum of the offsets points, into another "
            "row or into memory of something else.",
            torch="x[i, j] = 7.0\nx",
            naive="x[i, j] = 7.0\nx",
            correct="if (j.numpy() >= x.shape[1]).any(): raise IndexError('index out of range')\nx[i, j] = 7.0\nx",
            inputs="x = np.zeros((2, 5), np.float32); i = np.array([0]); j = np.array([7])",
            hazardous=True,
        ),
        Gotcha(
            "embedding-out-of-range",
            "An embedding reads past its table",
            "A row number beyond the table gives what lies behind it, with no error.",
            torch="nn.Embedding(4, 2)(i)",
            naive="nn.Embedding(4, 2)(i)",
            correct="if (i.numpy() >= 4).any(): raise IndexError('index out of range')\nnn.Embedding(4, 2)(i)",
            inputs="i = np.array([5])",
            hazardous=True,
            undefined=True,
        ),
        Gotcha(
            "gather-out-of-range",
            "gather reads past the end",
            "As with every other index that is a Var.",
            torch="x.gather(1, i)",
            naive="x.gather(1, i)",
            correct="if (i.numpy() >= x.shape[1]).any(): raise RuntimeError('index out of range')\nx.gather(1, i)",
            inputs="x = np.ones((2, 3), np.float32); i = np.array([[0, 9]])",
            hazardous=True,
            undefined=True,
        ),
        Gotcha(
            "index-negative",
            "A negative index reads from the end",
            "Nothing differs since Jittor 1.3.10; before, a negative Var read in front of the array.",
            torch="x[:, i]",
            naive="x[:, i]",
            inputs=f"{_MAPS}; i = np.array([-1, -2])",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "index-negative-assignment",
            "A negative index in an assignment is not taken from the end",
            "Reading wraps around and writing does not: the value goes to a cell of the row before, and in row 0 in "
            "front of the array.",
            torch="x[i, j] = 7.0\nx",
            naive="x[i, j] = 7.0\nx",
            correct="x[i, jt.where(j < 0, j + x.shape[1], j)] = 7.0\nx",
            inputs="x = np.zeros((2, 5), np.float32); i = np.array([1]); j = np.array([-1])",
            hazardous=True,
        ),
        Gotcha(
            "index-integer-and-tensor",
            "An integer beside an index tensor",
            "Nothing differs: both take the integer's row first and leave the indexed axis in its place. NumPy counts "
            "the integer as an index array and moves the axis to the front, so NumPy references differ from both.",
            torch="x[1, :, i].shape",
            naive="x[1, :, i].shape",
            inputs=f"{_MAPS}; i = np.array([2, 3, 3])",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "index-numpy-mask",
            "A mask must be a Var",
            "A NumPy array or a list of booleans is refused, in reading and in writing.",
            torch="x[np.array([True, False])]",
            naive="x[np.array([True, False])]",
            correct="x[jt.array(np.array([True, False]))]",
            inputs=_MAPS,
            relation=Relation.RAISES,
            error="RuntimeError",
        ),
        Gotcha(
            "index-uint8-mask",
            "A mask of bytes is an index",
            "PyTorch takes uint8 as a mask (with a warning); Jittor takes its zeros and ones as row numbers.",
            torch="x[m]",
            naive="x[m]",
            correct="x[m.bool()]",
            inputs=f"{_MAPS}; m = np.array([0, 1], np.uint8)",
        ),
        Gotcha(
            "index-scalar",
            "A single number as an index keeps the axis",
            "Every Var has at least one axis, so an index computed by Jittor selects a slice of length 1 where PyTorch "
            "drops the axis.",
            torch="x[i.sum()].shape",
            naive="x[i.sum()].shape",
            correct="x[i.sum().item()].shape",
            inputs=f"{_MAPS}; i = np.array([1, 0])",
        ),
        Gotcha(
            "view-write-through",
            "A write into a slice of a slice is lost",
            "t[0][1] = 9 writes to t, but with a slice in the first step it does not; a port that fills a batch "
            "step by step leaves it empty.",
            torch="x[0, :2][1] = 9.0\nx",
            naive="x[0, :2][1] = 9.0\nx",
            correct="x[0, 1] = 9.0\nx",
            inputs="x = np.zeros((2, 3), np.float32)",
        ),
        Gotcha(
            "view-in-place-operator",
            "An in-place operator on a row does not reach the array",
            "u += 9 makes u another Var; the row that it was taken from keeps its values.",
            torch="u = x[0]\nu += 9.0\nx",
            naive="u = x[0]\nu += 9.0\nx",
            correct="x[0] += 9.0\nx",
            inputs="x = np.zeros((2, 3), np.float32)",
        ),
        Gotcha(
            "loop-over-rows",
            "Rows written in a for loop: only the first is kept",
            "Iterating over a Var gives its rows, and writing to them changes the Var for the first one only. A padded "
            "batch filled with zip(tensor, mask) has one image; the others are black and wholly padding.",
            torch="for row in x:\n    row[0] = 1.0\nx",
            naive="for row in x:\n    row[0] = 1.0\nx",
            correct="for k in range(len(x)):\n    x[k, 0] = 1.0\nx",
            inputs="x = np.zeros((3, 2), np.float32)",
        ),
        Gotcha(
            "index-select",
            "index_select on another axis than the first",
            "Jittor's own selects on a new axis: the shape is wrong, and row numbers are applied to an axis of length "
            "1, that is read out of bounds.",
            torch="torch.index_select(x, 1, i)",
            naive="jt.index_select(x, 1, i)",
            correct="x[:, i]",
            inputs=f"{_MAPS}; i = np.array([0, 0])",
        ),
    ),
)
