// device.cuh -- the process's GPU: what the files that drive it share.
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include "device.h"
#include "launch.cuh"

#include <cublas_v2.h>

extern cublasHandle_t device_blas;
extern bool device_tf32; // fp32 products may round their operands

// Goes up when the workspace moves: a recording knows where it was.
extern unsigned workspace_serial;

// Keep the first error for device_sync.
void device_check(const char *what, cudaError_t e);

// Streams and events.
cudaError_t queue_open();
void queue_close();

#endif
