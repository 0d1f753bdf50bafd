"""Kernels of the CPU for clipping, in two passes, and AdamW, in one; see ``detr_jt.kernels``.

PyTorch's AdamW and clipping write in place. In Jittor other operations may be waiting for the values of before, so that
new arrays are written; past the cache, since an array that is larger than it would otherwise be read before that.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jittor as jt
from jittor import Var

from detr_jt import kernels

_LINES = """
#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif
// As many values as a line of the cache has.
template <class T>
struct Line {
    static const long size = 64 / sizeof(T);
    alignas(64) T values[size];
    // Past the cache if the array is large, and begins where the processor can do so.
    void write(T* to, bool past) const {
#ifdef __AVX__
        if (past) {
            const __m256i* from = (const __m256i*)values;
            _mm256_stream_si256((__m256i*)to, from[0]);
            _mm256_stream_si256((__m256i*)to + 1, from[1]);
            return;
        }
#endif
        std::memcpy(to, values, sizeof(values));
    }
};
// What a thread has written past the cache is there for the others only after this.
static inline void written() {
#ifdef __AVX__
    _mm_sfence();
#endif
}
template <class T>
static bool past_cache(long n, const T* to) { return n > 65536 && (uintptr_t)to % 32 == 0; }
"""
_ADAMW = (
    _LINES
    + kernels.EXACT
    + """
template <class T>
struct Step {
    T kept, first, second, rest, root, eps, step;
    inline void take(T p, T g, T m, T v, T& p_new, T& m_new, T& v_new) const {
        m_new = joined(g - m, first, m);
        v_new = joined(g * rest, g, v * second);
        p_new = p * kept - m_new * step / (root_of(v_new) / root + eps);
    }
};
template <class T>
static void adamw(long n, const T* __restrict__ p, const T* __restrict__ g, const T* __restrict__ m,
                  const T* __restrict__ v, T* __restrict__ p_new, T* __restrict__ m_new, T* __restrict__ v_new,
                  const Step<T> one) {
    const long size = Line<T>::size, whole = n / size * size;
    const bool past = past_cache(n, p_new) && past_cache(n, m_new) && past_cache(n, v_new);
    #pragma omp parallel if(n > 65536)
    {
        #pragma omp for schedule(static)
        for (long i = 0; i < whole; i += size) {
            Line<T> a, b, c;
            #pragma omp simd
            for (long j = 0; j < size; j++)
                one.take(p[i + j], g[i + j], m[i + j], v[i + j], a.values[j], b.values[j], c.values[j]);
            a.write(p_new + i, past);
            b.write(m_new + i, past);
            c.write(v_new + i, past);
        }
        written();
    }
    for (long i = whole; i < n; i++) one.take(p[i], g[i], m[i], v[i], p_new[i], m_new[i], v_new[i]);
}
#pragma GCC pop_options
"""
)
_ADAMW_CALL = """
    Step<in0_type> one = {(in0_type)data["kept"], (in0_type)data["first"], (in0_type)data["second"],
                          (in0_type)data["rest"], (in0_type)data["root"], (in0_type)data["eps"],
                          (in0_type)data["step"]};
    adamw<in0_type>(in0->num, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p, one);
"""


def adamw(p: Var, gradient: Var, state: Mapping[str, Any], group: Mapping[str, Any]) -> Sequence[Var]:
    """Return a parameter and its two moments after a step; see ``detr_jt.optimizer.update``."""
    (beta1, beta2), steps = group["betas"], state["step"]
    numbers = {
        "kept": 1 - group["lr"] * group["weight_decay"],
        "first": 1 - beta1,
        "second": beta2,
        "rest": 1 - beta2,
        "root": math.sqrt(1 - beta2**steps),
        "eps": group["eps"],
        "step": group["lr"] / (1 - beta1**steps),
    }
    inputs = [p, gradient, state["exp_avg"], state["exp_avg_sq"]]
    return jt.code([p.shape] * 3, [p.dtype] * 3, inputs, cpu_header=_ADAMW, cpu_src=_ADAMW_CALL, data=numbers)


_SQUARES = """
#include <vector>
template <class T>
static double squares(long n, const T* x) {
    // Blocks that do not depend on the number of threads, nor does the sum.
    const long size = 16384, blocks = (n + size - 1) / size;
    std::vector<double> sums(blocks);
    #pragma omp parallel for schedule(static) if(blocks > 4)
    for (long b = 0; b < blocks; b++) {
        const long end = std::min(n, (b + 1) * size);
        double sum = 0;
        for (long i = b * size; i < end; i++) sum += (double)x[i] * x[i];
        sums[b] = sum;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}
"""


def squares(x: Var) -> Var:
    """Return the sum of the squares of all values, float64 [1].

    In float64, and elsewhere row by row, since Jittor adds one value after the other: in float32 that costs percents of
    a large tensor, in float64 digits.
    """
    if not kernels.ours(x):
        rows = x.float64().reshape(x.shape[0], -1)
        return (rows * rows).sum(1).sum()
    return jt.code((1,), "float64", [x], cpu_header=_SQUARES, cpu_src="out0_p[0] = squares<in0_type>(in0->num, in0_p);")


_SCALED = (
    _LINES
    + """
template <class T>
static void scaled(long n, const T* __restrict__ x, T factor, T* __restrict__ y) {
    const long size = Line<T>::size, whole = n / size * size;
    const bool past = past_cache(n, y);
    #pragma omp parallel if(n > 65536)
    {
        #pragma omp for schedule(static)
        for (long i = 0; i < whole; i += size) {
            Line<T> line;
            for (long j = 0; j < size; j++) line.values[j] = x[i + j] * factor;
            line.write(y + i, past);
        }
        written();
    }
    for (long i = whole; i < n; i++) y[i] = x[i] * factor;
}
"""
)


def scaled(x: Var, factor: Var) -> Var:
    """Return ``x`` times a number, [1] of the dtype of ``x``."""
    if not kernels.ours(x, factor):
        return x * factor
    source = "scaled<in0_type>(in0->num, in0_p, in1_p[0], out0_p);"
    return jt.code(x.shape, str(x.dtype), [x, factor], cpu_header=_SCALED, cpu_src=source)
