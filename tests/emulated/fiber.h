// fiber.h -- a stack of its own for each emulated thread, and the switch between them.
//
// x86-64 has a switch of a dozen instructions; other processors (or -DFIBER_UCONTEXT) use
// ucontext, which is some twenty times slower. AddressSanitizer is told of every switch.
#ifndef FIBER_H
#define FIBER_H

#include <cstddef>

#if !defined(__x86_64__) && !defined(FIBER_UCONTEXT)
#    define FIBER_UCONTEXT
#endif
#ifdef FIBER_UCONTEXT
#    include <ucontext.h>
#endif

namespace emulated
{

// Where a fiber stands while it does not run. Zeroed means: nowhere yet.
struct fiber {
    char *stack; // lowest byte, from the pool; NULL for the program's own stack
#ifdef FIBER_UCONTEXT
    ucontext_t context;
#else
    void *sp;
#endif
    void *fake_stack; // AddressSanitizer's
    const void *bottom;
    size_t bytes;
};

// Give f a stack, so that the first switch to it calls entry, which must never return.
// colour (any number) spreads stack tops over cache sets.
void fiber_begin(fiber *f, void (*entry)(), unsigned colour);

// Leave `from`, run `to`. Returns when something switches back to `from`.
void fiber_switch(fiber *from, fiber *to);

// Leave `from` for good: its stack returns to the pool. Does not return.
[[noreturn]] void fiber_end(fiber *from, fiber *to);

// The first statement of entry. `origin` is the fiber of the program's own stack.
void fiber_entered(fiber *origin);

} // namespace emulated

#endif
