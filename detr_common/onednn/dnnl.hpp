// oneDNN's own header, and a forward convolution that is computed as in PyTorch (detr_common/jittor_convolution.py).

#pragma once

#include <cstring>

#include_next <dnnl.hpp>

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

} // namespace dnnl

// The sources of Jittor's convolutions name oneDNN's class.
#define convolution_forward direct_convolution_forward
