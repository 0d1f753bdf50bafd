// oneDNN's own header, a forward convolution that is computed as in PyTorch, arrays in oneDNN's layouts that are
// Jittor's own memory, and products by weights that all threads take part in (detr_common/jittor_convolution.py).

#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>

#include_next <dnnl.hpp>

#include <omp.h>

#include "executor.h"

namespace dnnl {

struct direct_convolution_forward : convolution_forward {
    using convolution_forward::convolution_forward;

    struct primitive_desc : convolution_forward::primitive_desc {
        using first_choice = convolution_forward::primitive_desc;

        primitive_desc(const desc &description, const engine &place) : first_choice(description, place) {
            const first_choice first = *this;
            while (rounds_more()) {
                if (!next_impl()) {
                    static_cast<first_choice &>(*this) = first;
                    return;
                }
            }
        }

    private:
        // One chain of sums over all channels and positions of the kernel ("brgconv"); or Winograd's transforms.
        bool rounds_more() const {
            return std::strstr(impl_info_str(), "brgconv") || std::strstr(impl_info_str(), "wino");
        }
    };
};

// An array that a convolution reads or writes in a layout of oneDNN's. oneDNN would ask the system for it, while Jittor
// has freed what the same step needed before and keeps it.
struct pooled_memory : memory {
    using memory::memory;

    pooled_memory(const desc &description, const engine &place)
        : pooled_memory(description, place,
            std::make_shared<jittor::Allocation>(jittor::exe.allocator, description.get_size())) {}

private:
    pooled_memory(const desc &description, const engine &place, std::shared_ptr<jittor::Allocation> allocation)
        : memory(description, place, allocation->ptr), held(allocation) {}

    std::shared_ptr<jittor::Allocation> held;
};

struct pooled_primitive : primitive {
    pooled_primitive(const primitive &one) : primitive(one) {}

    void execute(const stream &queue, const std::unordered_map<int, pooled_memory> &arguments) const {
        primitive::execute(queue, std::unordered_map<int, memory>(arguments.begin(), arguments.end()));
    }
};

} // namespace dnnl

// The product of an array [rows, sums] by weights [columns, sums], as of a linear layer. With few rows and long sums
// oneDNN leaves it to one thread; here each thread has columns of its own. Where there would be too few for each,
// oneDNN shares it out as it does all other products.
static inline dnnl_status_t shared_sgemm(char turn_a, char turn_b, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t sums,
    float alpha, const float *a, dnnl_dim_t step_a, const float *b, dnnl_dim_t step_b, float beta, float *c,
    dnnl_dim_t step_c) {
    const dnnl_dim_t fewest = 64, threads = omp_get_max_threads();
    if (turn_a != 'N' || turn_b != 'T' || threads == 1 || columns < fewest * threads || omp_in_parallel())
        return dnnl_sgemm(turn_a, turn_b, rows, columns, sums, alpha, a, step_a, b, step_b, beta, c, step_c);
    const dnnl_dim_t share = ((columns + threads - 1) / threads + 15) / 16 * 16;
    int told = dnnl_success;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(max : told)
    for (dnnl_dim_t first = 0; first < columns; first += share) {
        const dnnl_dim_t own = std::min(share, columns - first);
        told = std::max<int>(told, dnnl_sgemm(turn_a, turn_b, rows, own, sums, alpha, a, step_a, b + first * step_b,
            step_b, beta, c + first, step_c));
    }
    return static_cast<dnnl_status_t>(told);
}

// Jittor's sources name oneDNN's classes and functions.
#define dnnl_sgemm shared_sgemm
#define convolution_forward direct_convolution_forward
#define memory pooled_memory
#define primitive pooled_primitive
