// device_memory.h -- the emulated device's memory and its pending error: what block.cc needs of
// runtime.cc.
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include <cstddef>

namespace emulated
{

// Values of cudaError_t.
enum { ERROR_VALUE = 1, ERROR_MEMORY = 2, ERROR_CONFIGURATION = 9 };

// Remember an error for cudaGetLastError, unless one is remembered.
void note_error(int error);

// What cudaFuncSetAttribute allowed to this kernel; 0 when it was not asked.
size_t function_shared_limit(const void *function);

// Fault when something was written around an allocation.
void check_allocations();

} // namespace emulated

#endif
