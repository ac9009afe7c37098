// device.cuh -- the process's GPU: what device.cu shares with the file that calls cuBLAS.
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include "device.h"
#include "launch.cuh"

#include <cublas_v2.h>

extern cublasHandle_t device_blas;

#endif
