"""Kernels of the CPU, where what Jittor makes of its own operations is several times slower.

PyTorch has an operation for each of these, so detr_pt has no such file. What each saves is in docs/measured.md. On a
GPU, and wherever else `ours` says no, the same is computed by Jittor's operations.
"""

import math
from collections.abc import Sequence

import jittor as jt
from jittor import Var

# Each operation is rounded as it is written, and that is as PyTorch rounds: Jittor's flags would allow multiplying with
# a reciprocal, and joining any product with the sum that follows.
EXACT = """
#pragma GCC push_options
#pragma GCC optimize("no-fast-math", "no-math-errno", "no-trapping-math", "fp-contract=off")
// Not those of <cmath>, which are compiled by other options and would be called for each value.
static inline float root_of(float x) { return __builtin_sqrtf(x); }
static inline double root_of(double x) { return __builtin_sqrt(x); }
static inline float joined(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double joined(double a, double b, double c) { return __builtin_fma(a, b, c); }
"""


def ours(*values: Var) -> bool:
    """Whether values, all of float32 or all of float64, are computed by kernels, of this file or ``update_kernels``."""
    return not jt.flags.use_cuda and {str(value.dtype) for value in values} in ({"float32"}, {"float64"})


_PRODUCT = """
#include <cstring>
#include <vector>
// Adds to Rows x 32 values of a product, in registers: rows of a, in which each value is `step` from the next, times a
// panel of b that is packed in rows of 32.
template <int Rows, class T>
static void tile(long depth, const T* a, long row, long step, const T* panel, T* c, long c_row, long width,
                 bool first) {
    T sums[Rows][32] = {};
    for (long k = 0; k < depth; k++)
        for (int i = 0; i < Rows; i++)
            for (int j = 0; j < 32; j++) sums[i][j] += a[i * row + k * step] * panel[k * 32 + j];
    for (int i = 0; i < Rows; i++)
        for (long j = 0; j < width; j++) c[i * c_row + j] = first ? sums[i][j] : c[i * c_row + j] + sums[i][j];
}

// c [m, n] = a [m, k] b [k, n] for each of count matrices; the values of a and b are at row * i + column * j, and the
// matrices of a are a_next values apart.
template <class T>
static void products(long count, long m, long n, long depth, const T* a, long a_next, long a_row, long a_column,
                     const T* b, long b_row, long b_column, T* c) {
    // Sums of so many, which are added then: a longer chain would round more than PyTorch's products.
    const long panels = (n + 31) / 32, most = std::min(depth, 128L);
    #pragma omp parallel if(count * m * n * depth > 65536)
    {
        std::vector<T> panel(most * 32);
        #pragma omp for collapse(2) schedule(static)
        for (long one = 0; one < count; one++)
        for (long j = 0; j < panels; j++) {
            const long width = std::min(32L, n - j * 32);
            const T *x = a + one * a_next, *y = b + one * depth * n + j * 32 * b_column;
            T* z = c + one * m * n + j * 32;
            for (long from = 0; from < depth; from += most) {
                const long some = std::min(most, depth - from);
                for (long k = 0; k < some; k++) {
                    for (long q = 0; q < width; q++) panel[k * 32 + q] = y[(from + k) * b_row + q * b_column];
                    for (long q = width; q < 32; q++) panel[k * 32 + q] = 0;
                }
                long i = 0;
                for (; i + 8 <= m; i += 8)
                    tile<8>(some, x + i * a_row + from * a_column, a_row, a_column, panel.data(), z + i * n, n, width,
                            !from);
                for (; i < m; i++)
                    tile<1>(some, x + i * a_row + from * a_column, a_row, a_column, panel.data(), z + i * n, n, width,
                            !from);
            }
        }
    }
}
"""
_SIZES = """
const long count = data["count"], m = data["m"], n = data["n"], depth = data["depth"];
const long of_a = data["shared"] ? 0 : m * depth;
"""
# Of a product and of its gradients, by whether b is transposed: what is multiplied, rows and columns first.
_PRODUCTS = {
    False: (
        "products<out0_type>(count, m, n, depth, in0_p, of_a, depth, 1, in1_p, n, 1, out0_p);",
        "products<out0_type>(count, m, depth, n, in1_p, m * n, n, 1, in0_p, 1, n, out0_p);",
        "products<out0_type>(count, depth, n, m, in0_p, of_a, 1, depth, in1_p, n, 1, out0_p);",
    ),
    True: (
        "products<out0_type>(count, m, n, depth, in0_p, of_a, depth, 1, in1_p, 1, depth, out0_p);",
        "products<out0_type>(count, m, depth, n, in1_p, m * n, n, 1, in0_p, depth, 1, out0_p);",
        "products<out0_type>(count, n, depth, m, in1_p, m * n, 1, n, in0_p, depth, 1, out0_p);",
    ),
}


def product(a: Var, b: Var, transposed: bool) -> Var:
    """Multiply matrices [..., M, K] by [..., K, N], or by [..., N, K] which are ``transposed``: [..., M, N].

    One matrix [M, K] multiplies all [..., K, N]. Jittor computes many small products by loops that read each value
    anew.
    """
    if not ours(a, b):
        return jt.matmul(a, b.transpose(-1, -2) if transposed else b)
    return _Product.apply(a, b, transposed)


def product_alone(a: Var, b: Var, transposed: bool) -> Var:
    """Multiply like ``product``, without keeping the matrices for a gradient, which the product has none of."""
    if not ours(a, b):
        return jt.matmul(a, b.transpose(-1, -2) if transposed else b)
    return _Product().execute(a, b, transposed)


class _Product(jt.Function):
    """See ``product``. As a function, since for the gradient of a ``jt.code`` Jittor would keep its output too."""

    def execute(self, a: Var, b: Var, transposed: bool) -> Var:
        rows, depth = a.shape[-2:]
        columns, others = b.shape[-2:] if transposed else b.shape[-2:][::-1]
        alike = a.shape[:-2] == b.shape[:-2] or (a.ndim == 2 and not transposed)
        assert alike and depth == others, f"cannot multiply {a.shape} by {b.shape}, transposed: {transposed}"
        self.inputs, self.sources = (a, b), _PRODUCTS[transposed]
        self.before, shared = b.shape[:-2], a.ndim < b.ndim
        sizes = {"m": rows, "n": columns, "depth": depth, "shared": int(shared)}
        self.data = {"count": math.prod(self.before), **sizes}
        return self.kernel(0, (*self.before, rows, columns), self.inputs)

    def grad(self, pull: Var) -> tuple[Var, Var, None]:
        a, b = self.inputs
        of_a = self.kernel(1, (*self.before, *a.shape[-2:]), (b, pull))
        if self.data["shared"]:
            of_a = of_a.reshape(-1, *a.shape).sum(0)
        return of_a, self.kernel(2, b.shape, (a, pull)), None

    def kernel(self, which: int, shape: Sequence[int], inputs: Sequence[Var]) -> Var:
        source = _SIZES + self.sources[which]
        return jt.code(
            tuple(shape), str(inputs[0].dtype), [*inputs], cpu_header=_PRODUCT, cpu_src=source, data=self.data
        )


_DRAW = """
#include <cstdint>
#include <cstring>
static void draw(long n, const float* seed, double p, bool* keep) {
    uint64_t key;
    std::memcpy(&key, seed, sizeof(key));
    const uint64_t bound = p * 4294967296.0;
    // SplitMix64 (Steele et al. 2014): each value by its number alone, whatever the number of threads.
    #pragma omp parallel for simd schedule(static) if(n > 65536)
    for (long i = 0; i < n; i++) {
        uint64_t z = key + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        keep[i] = ((z ^ (z >> 31)) >> 32) >= bound;
    }
}
"""
_MASK = """
template <class T>
static void masked(long n, const T* __restrict__ x, const bool* __restrict__ keep, T scale, T* __restrict__ y) {
    #pragma omp parallel for simd schedule(static) if(n > 65536)
    for (long i = 0; i < n; i++) y[i] = x[i] * (T)keep[i] * scale;
}
"""


def draw(shape: Sequence[int], p: float) -> Var:
    """Return a bool array in which each value is False with probability ``p``, by Jittor's own generator.

    Jittor would draw each value from it one after another; here it draws the key of all.
    """
    key = jt.rand((2,))
    call = 'draw(out0->num, in0_p, data["p"], out0_p);'
    return jt.code(tuple(shape), "bool", [key], cpu_header=_DRAW, cpu_src=call, data={"p": p})


def masked(x: Var, keep: Var, scale: float) -> Var:
    """Return ``x * keep * scale`` for a bool ``keep``.

    Jittor would join it with what comes before, such as a ReLU, to a loop that is not vectorised.
    """
    return _Masked.apply(x, keep, scale)


class _Masked(jt.Function):
    """See ``masked``; a function for the reason that ``product`` is one."""

    def execute(self, x: Var, keep: Var, scale: float) -> Var:
        self.keep, self.data = keep, {"scale": scale}
        return self.kernel(x)

    def grad(self, pull: Var) -> tuple[Var, None, None]:
        return self.kernel(pull), None, None

    def kernel(self, x: Var) -> Var:
        source = 'masked<out0_type>(in0->num, in0_p, in1_p, data["scale"], out0_p);'
        return jt.code(x.shape, str(x.dtype), [x, self.keep], cpu_header=_MASK, cpu_src=source, data=self.data)


# Exact, so that NaN stays NaN as in PyTorch.
_RELU = (
    EXACT
    + """
template <class T>
static void relu(long n, const T* __restrict__ x, T* __restrict__ y) {
    #pragma omp parallel for simd schedule(static) if(n > 65536)
    for (long i = 0; i < n; i++) y[i] = x[i] < 0 ? T(0) : x[i];
}
template <class T>
static void relu_gradient(long n, const T* __restrict__ y, const T* __restrict__ gradient, T* __restrict__ x) {
    #pragma omp parallel for simd schedule(static) if(n > 65536)
    for (long i = 0; i < n; i++) x[i] = y[i] > 0 ? gradient[i] : T(0);
}
#pragma GCC pop_options
"""
)


def relu(x: Var) -> Var:
    """Return the values of ``x``, of which negative ones become 0.

    Jittor keeps an array of bool for the gradient, in whose loop nothing is vectorised.
    """
    return _Relu.apply(x)


class _Relu(jt.Function):
    """See ``relu``; a function for the reason that ``product`` is one."""

    def execute(self, x: Var) -> Var:
        source = "relu<in0_type>(in0->num, in0_p, out0_p);"
        self.y = jt.code(x.shape, str(x.dtype), [x], cpu_header=_RELU, cpu_src=source)
        return self.y

    def grad(self, pull: Var) -> Var:
        source = "relu_gradient<in0_type>(in0->num, in0_p, in1_p, out0_p);"
        return jt.code(pull.shape, str(pull.dtype), [self.y, pull], cpu_header=_RELU, cpu_src=source)
