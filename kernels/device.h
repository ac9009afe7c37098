/* device.h -- where arrays live. One process drives one device; ops run in the order of their
   calls. Process-wide state: the device, its one workspace. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Before device_open, where several processes (`here`, 0: unknown) share this machine: this is
   number `local` of them, and takes the device of that number, or the only one it may see. */
void device_choose(int local, int here);

/* Choose the device and start its libraries. threads: CPU threads to use, 0 for all that may be
   used. Returns NULL, or one sentence saying why not (no device, driver too old, ...). Call once,
   before anything else here. */
const char *device_open(int threads);
void device_close(void);

/* "cpu" or "cuda": the name of the build's backend. Needs no device_open. */
const char *device_kind(void);

/* Whether the device's arrays are plain memory of the host, which any thread may read as it stands
   once the ops queued have run. Needs no device_open. */
bool device_is_host(void);

/* One line for people: processor or GPU, threads, matrix library and its core type. */
const char *device_describe(void);

/* Measure one large matrix product of numbers as this build stores them, and return GFLOP/s; about
   50 ms of work. */
double device_matmul_gflops(void);
/* What its operands are rounded to: "fp32", "tf32" or "bf16". */
const char *device_matmul_kind(void);

/* Whether fp32 products may round their operands to 10 bits where that is faster (TF32). At first
   they may not. Without effect on the CPU and on products of bf16. */
void device_allow_tf32(bool allowed);

/* ---- memory ------------------------------------------------------------------------------- */

/* Bytes of memory that can still be allocated, as well as the system can tell: of what processes
   share, an equal part. What a GPU's driver takes for itself while programs run is not counted as
   free. */
size_t device_free_bytes(void);

/* Zeroed, aligned to 256 bytes; NULL when exhausted. */
void *device_alloc(size_t bytes);
void device_free(void *p);

/* Take `bytes` at once, for device_alloc to hand out from then on, as long as they last: a run
   whose plan fits does not fail later, and allocates nothing while it runs. Freed parts serve again
   when all are free. Once, after device_open. False when the device has not so much; what was
   allocated before stays as it is. On the CPU nothing is taken, for the system gives memory as it
   is used. */
bool device_take(size_t bytes);

/* The most bytes of its memory that this process had at once; 0 on the CPU, where it is the
   host's. What a GPU's driver takes for itself is not counted. */
size_t device_peak_bytes(void);

/* Memory of the host that device_upload and device_fetch move without a copy between; zeroed; NULL
   when exhausted. */
void *device_host_alloc(size_t bytes);
void device_host_free(void *p);

/* ---- moving -------------------------------------------------------------------------------- */

/* Copies are complete when they return, and come after every op queued before them. */
void device_put(void *device, const void *host, size_t bytes);
void device_get(void *host, const void *device, size_t bytes);
/* Queued like an op. Source and destination do not overlap. */
void device_copy(void *to, const void *from, size_t bytes);
void device_zero(void *p, size_t bytes);

/* The same between the device and device_host_alloc's memory, queued like an op: the host's side
   may be touched again after device_sync. */
void device_send(void *device, const void *host, size_t bytes);
void device_fetch(void *host, const void *device, size_t bytes);

/* device_upload -- as device_send, beside the ops and not among them, so that the next step's data
   travel while this one computes. Uploads are done in order. Ops queued after device_await_uploads
   come after all uploads queued before it, and uploads queued after device_uploads_follow after all
   ops queued before it: thus an array is filled again as soon as its last reader has run. */
void device_upload(void *device, const void *host, size_t bytes);
void device_await_uploads(void);
void device_uploads_follow(void);

/* ---- ops ------------------------------------------------------------------------------------ */

/* Scratch that an op may use until it returns (its kernels are queued before any other op's, so
   ops share it). Grows when asked for more than before; device_reserve sizes it ahead, so that a
   run never allocates after its plan. Contents are undefined. */
void *device_workspace(size_t bytes);
void device_reserve(size_t bytes);

/* Wait for every op queued so far. NULL, or a sentence saying what broke. */
const char *device_sync(void);

/* A sequence of ops that is queued again and again with the same arguments, for less than its ops
   cost one by one (on a GPU: a CUDA graph). {0} before the first time; free it with
   device_forget. */
struct device_recording {
    void *graph;   /* the backend's own */
    uint64_t key;  /* what it was recorded with */
    unsigned runs; /* so far */
    unsigned room; /* which workspace it knows */
    bool recording;
};

/* Queue the ops of a recording:

       if (!device_replay(&r, key)) {
           ...the ops...
           device_replay_end(&r);
       }

   The ops are the same each time for the same key, which stands for every argument that may change
   but the contents of arrays: with another key they are recorded anew. What is called between the
   two is ops, device_copy, device_zero, device_send and device_fetch alone. device_replay is true
   where the ops have been queued from the recording; the CPU, which would gain nothing, always has
   them called. */
bool device_replay(struct device_recording *r, uint64_t key);
void device_replay_end(struct device_recording *r);
void device_forget(struct device_recording *r);

/* Recordings of this process that were made, changed and queued; for tests and people. */
struct device_replay_counts {
    uint64_t made, changed, queued;
};
struct device_replay_counts device_replays(void);

/* ---- time ----------------------------------------------------------------------------------- */

/* Milliseconds of the device between the two calls: of the ops queued between them, and waits for
   them. */
void device_clock_start(void);
double device_clock_ms(void);

/* Moments among the ops: mark i, below DEVICE_MARKS, is when those queued before device_mark(i)
   have run; marked again it is a later one. device_marked_ms is the time from one mark to another
   that device_sync has waited for. Not between device_replay and its end. */
enum { DEVICE_MARKS = 8192 };
void device_mark(int i);
double device_marked_ms(int from, int to);

#ifdef __cplusplus
}
#endif
#endif
