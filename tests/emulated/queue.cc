// queue.cc -- streams, events and graphs of the emulated device: what is done when.
#include "queue.h"
#include "cuda_runtime.h"
#include "device_memory.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

namespace emulated
{

struct node {
    const void *what;
    std::function<void()> work;
};

} // namespace emulated

using namespace emulated;

struct CUgraph_st {
    std::vector<node> nodes;
};

struct CUgraphExec_st {
    std::vector<node> nodes;
};

struct CUstream_st {
    std::deque<std::function<void()>> held;
    CUgraph_st *captured_by;
    uint64_t records;                       // events recorded here
    std::map<CUstream_st *, uint64_t> seen; // how many records of others it waits for
};

struct CUevent_st {
    CUstream_st *stream;
    unsigned recorded, reached; // how often
    uint64_t record;            // of the stream's, the last
    double ms;                  // when it was reached
};

// ---- what is done when ----------------------------------------------------------------------

static std::set<CUstream_st *> streams;

static CUstream_st *of(CUstream_st *stream)
{
    static CUstream_st plain;
    if (!stream)
        stream = &plain;
    streams.insert(stream);
    return stream;
}

void emulated::queue(CUstream_st *stream, const void *what, std::function<void()> work)
{
    CUstream_st *s = of(stream);
    if (s->captured_by)
        s->captured_by->nodes.push_back({what, std::move(work)});
    else
        s->held.push_back(std::move(work));
}

void emulated::check_stream(CUstream_st *stream, CUstream_st *device)
{
    if (!stream || stream == device)
        fault("a collective is on the device's own stream");
    if (device->records == 0 || stream->seen[device] != device->records)
        fault("a collective does not wait for what was queued on the device before it");
}

bool emulated::is_captured(CUstream_st *stream)
{
    return of(stream)->captured_by;
}

void emulated::drain(CUstream_st *stream)
{
    CUstream_st *s = of(stream);
    if (s->captured_by)
        fault("a stream is waited for while it is captured");
    while (!s->held.empty()) {
        std::function<void()> work = std::move(s->held.front());
        s->held.pop_front();
        work();
    }
}

void emulated::drain_all()
{
    const std::set<CUstream_st *> all = streams;
    for (CUstream_st *s : all)
        if (!s->captured_by)
            drain(s);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new CUstream_st();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    drain(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    drain(stream);
    return cudaSuccess;
}

// ---- events ---------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new CUevent_st();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    drain_all(); // others may be told to wait for it
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->stream = of(stream);
    unsigned number = ++event->recorded;
    event->record = ++event->stream->records;
    queue(stream, (const void *)cudaEventRecord, [=] {
        event->reached = number;
        event->ms = std::chrono::duration<double, std::milli>(
                        std::chrono::steady_clock::now().time_since_epoch())
                        .count();
    });
    return cudaSuccess;
}

// Do what stands before the event's last record.
static void reach(cudaEvent_t event, unsigned number)
{
    while (event->stream && event->reached < number && !event->stream->held.empty()) {
        std::function<void()> work = std::move(event->stream->held.front());
        event->stream->held.pop_front();
        work();
    }
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    unsigned number = event->recorded;
    if (event->stream)
        of(stream)->seen[event->stream] = event->record;
    queue(stream, (const void *)cudaStreamWaitEvent, [=] { reach(event, number); });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    reach(event, event->recorded);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    *ms = (float)(end->ms - begin->ms);
    return cudaSuccess;
}

// ---- graphs ---------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    CUstream_st *s = of(stream);
    if (s->captured_by)
        return cudaErrorInvalidValue;
    s->captured_by = new CUgraph_st();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    CUstream_st *s = of(stream);
    *graph = s->captured_by;
    s->captured_by = nullptr;
    return *graph ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *told)
{
    *told = {};
    bool alike = exec->nodes.size() == graph->nodes.size();
    for (size_t i = 0; alike && i < exec->nodes.size(); i++)
        alike = exec->nodes[i].what == graph->nodes[i].what;
    if (!alike) {
        note_error(cudaErrorGraphExecUpdateFailure);
        return cudaErrorGraphExecUpdateFailure;
    }
    drain_all(); // launches before the update keep their arguments
    exec->nodes = graph->nodes;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    queue(stream, (const void *)cudaGraphLaunch, [=] {
        for (const node &n : exec->nodes)
            n.work();
    });
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    drain_all();
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
