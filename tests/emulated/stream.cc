// stream.cc -- streams and events. What runs on the device's stream is done at once; what is queued
// on another is done when an event behind it is waited for, so that a forgotten wait gives wrong
// results.
#include "stream.h"

#include "memory.h"

#include <deque>
#include <map>

struct CUstream_st {
    std::deque<std::function<void()>> work;
    uint64_t queued, done;                  // how much ever was
    uint64_t records;                       // events recorded here
    std::map<CUstream_st *, uint64_t> seen; // how many records of others it has waited for
};

struct CUevent_st {
    CUstream_st *stream;
    uint64_t position, record;
};

namespace emulated
{

void queue(cudaStream_t stream, std::function<void()> work)
{
    stream->work.push_back(work);
    stream->queued++;
}

void check_stream(cudaStream_t stream, cudaStream_t device)
{
    if (!stream || stream == device)
        fault("a collective is on the device's own stream");
    if (stream->seen[device] != device->records || device->records == 0)
        fault("a collective does not wait for what was queued on the device before it");
}

static void run_until(CUstream_st *stream, uint64_t position)
{
    while (stream->done < position) {
        std::function<void()> work = stream->work.front();
        stream->work.pop_front();
        stream->done++;
        work();
    }
}

} // namespace emulated

using namespace emulated;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new CUstream_st{};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (stream->done != stream->queued)
        fault("a stream ends with work that nobody has waited for");
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (stream)
        run_until(stream, stream->queued);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new CUevent_st{};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    *event = CUevent_st{stream, stream->queued, ++stream->records};
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (!event->stream)
        return cudaSuccess;
    run_until(event->stream, event->position);
    stream->seen[event->stream] = event->record;
    return cudaSuccess;
}
