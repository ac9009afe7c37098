// cuda/device_queue.cu -- what is queued beside the ops and instead of them: uploads on a stream of
// their own, recordings as CUDA graphs, a clock of events.
#include "device.cuh"

#include <stdio.h>

static cudaStream_t upload_stream;
static cudaEvent_t uploaded, used, clock_begin, clock_end;
static bool uploads_ahead; // some were queued that no op has been told to wait for
static struct device_replay_counts replays;
static cudaEvent_t marks[DEVICE_MARKS]; // made when first used

// ---- open and close -------------------------------------------------------------------------

cudaError_t queue_open()
{
    cudaError_t e;
    if ((e = cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking)) ||
        (e = cudaStreamCreateWithFlags(&upload_stream, cudaStreamNonBlocking)) ||
        (e = cudaEventCreateWithFlags(&uploaded, cudaEventDisableTiming)) ||
        (e = cudaEventCreateWithFlags(&used, cudaEventDisableTiming)) ||
        (e = cudaEventCreateWithFlags(&clock_begin, cudaEventDefault)) ||
        (e = cudaEventCreateWithFlags(&clock_end, cudaEventDefault)))
        return e;
    return cudaSuccess;
}

void queue_close()
{
    cudaEvent_t *events[] = {&uploaded, &used, &clock_begin, &clock_end};
    for (cudaEvent_t *e : events) {
        if (*e)
            cudaEventDestroy(*e);
        *e = NULL;
    }
    for (cudaEvent_t &mark : marks) {
        if (mark)
            cudaEventDestroy(mark);
        mark = NULL;
    }
    cudaStream_t *streams[] = {&upload_stream, &device_stream};
    for (cudaStream_t *s : streams) {
        if (*s)
            cudaStreamDestroy(*s);
        *s = NULL;
    }
}

// ---- uploads --------------------------------------------------------------------------------

void device_upload(void *device, const void *host, size_t bytes)
{
    if (!bytes)
        return;
    device_check("device_upload",
                 cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, upload_stream));
    uploads_ahead = true;
}

void device_await_uploads(void)
{
    if (!uploads_ahead)
        return;
    device_check("device_upload", cudaEventRecord(uploaded, upload_stream));
    device_check("device_upload", cudaStreamWaitEvent(device_stream, uploaded, 0));
    uploads_ahead = false;
}

void device_uploads_follow(void)
{
    device_check("device_upload", cudaEventRecord(used, device_stream));
    device_check("device_upload", cudaStreamWaitEvent(upload_stream, used, 0));
}

// ---- recordings -----------------------------------------------------------------------------
// The first run of a recording is not recorded: it loads kernels and lets the workspace grow,
// neither of which a graph may do. With another key the ops are recorded again and the graph's
// nodes updated in place, which is cheaper than a new graph.

static void play(struct device_recording *r)
{
    device_check("a recording", cudaGraphLaunch((cudaGraphExec_t)r->graph, device_stream));
    replays.queued++;
}

bool device_replay(struct device_recording *r, uint64_t key)
{
    if (r->graph && r->key == key && r->room == workspace_serial) {
        play(r);
        return true;
    }
    if (r->runs++) {
        // Other threads may use the device meanwhile; what this one does is recorded.
        cudaError_t e = cudaStreamBeginCapture(device_stream, cudaStreamCaptureModeThreadLocal);
        device_check("a recording", e);
        r->recording = !e;
    }
    r->key = key;
    return false;
}

// Whether the graph could take over what was recorded now.
static bool update(struct device_recording *r, cudaGraph_t recorded)
{
    cudaGraphExecUpdateResultInfo told;
    if (!r->graph)
        return false;
    if (!cudaGraphExecUpdate((cudaGraphExec_t)r->graph, recorded, &told)) {
        replays.changed++;
        return true;
    }
    cudaGetLastError(); // the ops have become others, and a new graph is made
    cudaGraphExecDestroy((cudaGraphExec_t)r->graph);
    r->graph = NULL;
    return false;
}

void device_replay_end(struct device_recording *r)
{
    cudaGraph_t recorded;
    if (!r->recording)
        return;
    r->recording = false;
    cudaError_t e = cudaStreamEndCapture(device_stream, &recorded);
    if (e) {
        device_check("a recording", e);
        return;
    }
    if (!update(r, recorded)) {
        cudaGraphExec_t made;
        e = cudaGraphInstantiate(&made, recorded, 0);
        device_check("a recording", e);
        r->graph = e ? NULL : made;
        replays.made++;
    }
    cudaGraphDestroy(recorded);
    r->room = workspace_serial;
    if (r->graph)
        play(r);
}

void device_forget(struct device_recording *r)
{
    if (r->graph) {
        cudaStreamSynchronize(device_stream);
        cudaGraphExecDestroy((cudaGraphExec_t)r->graph);
    }
    *r = {};
}

struct device_replay_counts device_replays(void)
{
    return replays;
}

// ---- time -----------------------------------------------------------------------------------

void device_clock_start(void)
{
    device_check("the clock", cudaEventRecord(clock_begin, device_stream));
}

double device_clock_ms(void)
{
    float ms = 0;
    device_check("the clock", cudaEventRecord(clock_end, device_stream));
    device_check("the clock", cudaEventSynchronize(clock_end));
    device_check("the clock", cudaEventElapsedTime(&ms, clock_begin, clock_end));
    return ms;
}

void device_mark(int i)
{
    if (!marks[i])
        device_check("a mark", cudaEventCreateWithFlags(&marks[i], cudaEventDefault));
    device_check("a mark", cudaEventRecord(marks[i], device_stream));
}

double device_marked_ms(int from, int to)
{
    float ms = 0;
    device_check("a mark", cudaEventElapsedTime(&ms, marks[from], marks[to]));
    return ms;
}
