/* permute.h -- a permutation of 0..n-1 as a function: order "ttt", a pure function of (seed, n).

   No array is needed: place i is computed from i alone, so any machine can ask for any part.

   Numbers below n are written (x, y) with x < a, y < b, i = x * b + y, where a = ceil(sqrt(n)) and
   b = ceil(n / a). Sixteen double rounds r turn (x, y) into another pair (with eight the orders of
   n = 6 are visibly uneven over seeds, with twelve no longer):

       x = (x + F(key[2r],     y) mod a) mod a
       y = (y + F(key[2r + 1], x) mod b) mod b

   and the whole is repeated while the number is not below n (a * b - n < a: seldom).
   F(key, v) mod m is the high half of the 128-bit product m * mix(key + v * 0x9e3779b97f4a7c15),
   key[k] is the k-th output of SplitMix64 that starts from seed ^ mix(n), and mix is SplitMix64's
   finalizer: z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb;
   z ^= z >> 31. SplitMix64 adds 0x9e3779b97f4a7c15 to its state before each output, mix(state). */
#ifndef PERMUTE_H
#define PERMUTE_H

#include <stddef.h>
#include <stdint.h>

enum { PERMUTE_ROUNDS = 16 };

struct permute {
    uint64_t n, a, b;
    uint64_t key[2 * PERMUTE_ROUNDS];
};

void permute_begin(struct permute *p, uint64_t seed, uint64_t n);
/* What stands in place i of the permuted order; i < n. */
uint64_t permute_at(const struct permute *p, uint64_t i);
/* The place where `number` stands: permute_at backwards. number < n. */
uint64_t permute_find(const struct permute *p, uint64_t number);
/* The places of `count` numbers from `number` on, all below n; a third of the time of each alone.
 */
void permute_find_run(const struct permute *p, uint64_t number, size_t count, uint64_t *places);

#endif
