// oneDNN's own header, a forward convolution that is computed as in PyTorch, and arrays in oneDNN's layouts that are
// Jittor's own memory (detr_common/jittor_convolution.py).

#pragma once

#include <cstring>
#include <memory>
#include <unordered_map>

#include_next <dnnl.hpp>

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

// The sources of Jittor's convolutions name oneDNN's classes.
#define convolution_forward direct_convolution_forward
#define memory pooled_memory
#define primitive pooled_primitive
