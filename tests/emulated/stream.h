// stream.h -- streams beside the device's own: what is queued on them waits until someone waits for
// it.
#ifndef EMULATED_STREAM_H
#define EMULATED_STREAM_H

#include "cuda_runtime.h"

#include <functional>

namespace emulated
{

void queue(cudaStream_t stream, std::function<void()> work);

// Fault unless the stream is another one and has been told to wait for all that the device's has.
void check_stream(cudaStream_t stream, cudaStream_t device);

} // namespace emulated

#endif
