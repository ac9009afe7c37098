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

/* One line for people: processor or GPU, threads, matrix library and its core type. */
const char *device_describe(void);

/* Measure one large fp32 matrix product and return GFLOP/s; about 50 ms of work. */
double device_matmul_gflops(void);

/* Bytes of memory that can still be allocated, as well as the system can tell. */
size_t device_free_bytes(void);

/* Zeroed, aligned to 256 bytes; NULL when exhausted. */
void *device_alloc(size_t bytes);
void device_free(void *p);

/* Copies are complete when they return, and come after every op queued before them. */
void device_put(void *device, const void *host, size_t bytes);
void device_get(void *host, const void *device, size_t bytes);
/* Queued like an op. Source and destination do not overlap. */
void device_copy(void *to, const void *from, size_t bytes);
void device_zero(void *p, size_t bytes);

/* Scratch that an op may use until it returns (its kernels are queued before any other op's, so
   ops share it). Grows when asked for more than before; device_reserve sizes it ahead, so that a
   run never allocates after its plan. Contents are undefined. */
void *device_workspace(size_t bytes);
void device_reserve(size_t bytes);

/* Wait for every op queued so far. NULL, or a sentence saying what broke. */
const char *device_sync(void);

#ifdef __cplusplus
}
#endif
#endif
