/* random.h -- numbers by counter: element i of a named stream under a seed, in any order. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Philox 4x32, ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011):
   128 bits from a 128-bit counter under a 64-bit key. */
void random_philox(uint32_t out[4], const uint32_t counter[4], uint64_t key);

/* The stream of a name. */
uint64_t random_stream(const char *name);

/* Elements first .. first+count-1 of the stream, normal with mean 0 and this deviation. A
   function of seed, stream and the element's index alone. */
void random_normal(float *to, size_t count, uint64_t seed, uint64_t stream, uint64_t first,
                   float deviation);

/* The same from a normal cut at two deviations (drawn again until inside, not rescaled). */
void random_cut_normal(float *to, size_t count, uint64_t seed, uint64_t stream, uint64_t first,
                       float deviation);

/* Draw `draw` of the stream, uniform in [0, 1), 32 bits. */
double random_uniform(uint64_t seed, uint64_t stream, uint64_t draw);

#endif
