// queue.h -- what is queued on a stream, and done when somebody waits for it.
//
// Work is done as late as a GPU could do it: when its stream or an event behind it is waited for,
// and then in order. So a missing wait reads what was there before, every time. A host's array that
// is not pinned is copied at once, after what its stream holds, as by the runtime. While a stream
// is captured its work goes to a graph.
#ifndef QUEUE_H
#define QUEUE_H

#include <cstddef>
#include <functional>

struct CUstream_st;

namespace emulated
{

// Queue work on a stream (NULL: one of its own). `what` tells the kind of work: the kernel, or the
// call. A graph is updated by another whose work is of the same kinds.
void queue(CUstream_st *stream, const void *what, std::function<void()> work);

// Do what the stream holds, or every stream.
void drain(CUstream_st *stream);
void drain_all();

// Fault unless the stream is another one and has been told to wait for all that the device's has.
void check_stream(CUstream_st *stream, CUstream_st *device);

// Whether the stream's work goes to a graph at present.
bool is_captured(CUstream_st *stream);

} // namespace emulated

#endif
