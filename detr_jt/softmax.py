"""The weights of attention on a CPU: padding and softmax in one pass, of which the weights alone are kept.

Jittor would make an array of [B, H, L, S] for each of half a dozen operations and keep most of them for the gradient.
PyTorch has an operation for it, so detr_pt has no such file.
"""

import math

import jittor as jt
from jittor import Var, nn

from detr_jt.kernels import EXACT, ours

_SOFTMAX = (
    EXACT
    + """
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>
template <class T> struct Exponent {};
template <> struct Exponent<float> {
    using Integer = int;
    static constexpr int digits = 23, bias = 127, terms = 7;
    static constexpr float high = 0.693359375f, low = -2.12194440e-4f, least = -87.0f;
};
template <> struct Exponent<double> {
    using Integer = long;
    static constexpr int digits = 52, bias = 1023, terms = 13;
    static constexpr double high = 6.93145751953125e-1, low = 1.42860682030941723212e-6, least = -708.0;
};
// e^x for x <= 0, in which a loop is vectorised: 2^n e^r with |r| <= ln(2) / 2 and the Taylor series of e^r.
template <class T> static inline __attribute__((always_inline)) T exponential(T x) {
    using E = Exponent<T>;
    using Integer = typename E::Integer;
    const T magic = T(3) * T(Integer(1) << (E::digits - 1)), shifted = x * T(1.4426950408889634) + magic;
    const T n = shifted - magic, r = joined(n, -E::low, joined(n, -E::high, x));
    T sum = 1;
    for (int k = E::terms; k > 0; k--) sum = joined(sum, r / T(k), T(1));
    Integer bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + E::bias) << E::digits;
    T power;
    std::memcpy(&power, &bits, sizeof(power));
    return x < E::least ? T(0) : sum * power;
}

// Rows of scores, `group` of them to an image, whose row of `padding` is true where a score does not count.
template <class T>
static void softmax(long rows, long columns, long group, const T* x, const bool* padding, T* y) {
    #pragma omp parallel if(rows * columns > 16384)
    {
        std::vector<T> hidden(columns);
        long image = -1;
        #pragma omp for schedule(static)
        for (long i = 0; i < rows; i++) {
            const T *from = x + i * columns, least = -std::numeric_limits<T>::infinity();
            T* to = y + i * columns;
            double sum = 0;  // In float the sum would be off by more than all the rest.
            if (i / group != image) {
                image = i / group;
                for (long j = 0; j < columns; j++) hidden[j] = padding && padding[image * columns + j];
            }
            const T* hide = hidden.data();
            T most = least;
            #pragma omp simd reduction(max:most)
            for (long j = 0; j < columns; j++) {
                const T value = hide[j] != 0 ? least : from[j];
                most = most < value ? value : most;
            }
            #pragma omp simd reduction(+:sum)
            for (long j = 0; j < columns; j++) {
                const T value = exponential((hide[j] != 0 ? least : from[j]) - most);
                to[j] = value;
                sum += value;
            }
            const T share = T(1 / sum);
            #pragma omp simd
            for (long j = 0; j < columns; j++) to[j] *= share;
        }
    }
}

template <class T>
static void softmax_gradient(long rows, long columns, const T* y, const T* gradient, T* x) {
    #pragma omp parallel for schedule(static) if(rows * columns > 16384)
    for (long i = 0; i < rows; i++) {
        const T *weight = y + i * columns, *pull = gradient + i * columns;
        double sum = 0;
        #pragma omp simd reduction(+:sum)
        for (long j = 0; j < columns; j++) sum += double(weight[j]) * pull[j];
        const T mean = T(sum);
        #pragma omp simd
        for (long j = 0; j < columns; j++) x[i * columns + j] = weight[j] * (pull[j] - mean);
    }
}
#pragma GCC pop_options
"""
)
_SIZES = 'const long columns = data["columns"], rows = in0->num / std::max(columns, 1L), group = data["group"];\n'


def attention_weights(scores: Var, padding: Var | None) -> Var:
    """Return the softmax of scores over the keys.

    Args:
        scores: [B, H, L, S].
        padding: bool [B, S], True where a key is padding: its weight is 0. An image with no valid key gives NaN.

    Returns:
        [B, H, L, S].
    """
    if ours(scores):
        return _Softmax.apply(scores, padding)
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
    return nn.softmax(scores, dim=-1)


class _Softmax(jt.Function):
    """See ``attention_weights``; a function, since for the gradient of a ``jt.code`` Jittor would keep the scores."""

    def execute(self, scores: Var, padding: Var | None) -> Var:
        self.data = {"columns": scores.shape[-1], "group": math.prod(scores.shape[1:3])}
        hide = "nullptr" if padding is None else "in1_p"
        inputs = [scores] if padding is None else [scores, padding]
        self.weights = self.kernel(f"softmax<in0_type>(rows, columns, group, in0_p, {hide}, out0_p);", inputs)
        return self.weights

    def grad(self, pull: Var) -> tuple[Var, None]:
        source = "softmax_gradient<in0_type>(rows, columns, in0_p, in1_p, out0_p);"
        return self.kernel(source, [self.weights, pull]), None

    def kernel(self, source: str, inputs: list[Var]) -> Var:
        one = inputs[0]
        return jt.code(one.shape, str(one.dtype), inputs, cpu_header=_SOFTMAX, cpu_src=_SIZES + source, data=self.data)
