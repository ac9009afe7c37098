// fiber.cc -- stacks from a pool, each above a page that faults, and the switch.
#include "fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#    include <sanitizer/asan_interface.h>
#    include <sanitizer/common_interface_defs.h>
#endif

namespace emulated
{

enum { STACK_BYTES = 64 << 10, FENCE_BYTES = 4096 };

static std::vector<char *> free_stacks;

static char *stack_take()
{
    if (free_stacks.empty()) {
        char *p = (char *)mmap(nullptr, FENCE_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || mprotect(p, FENCE_BYTES, PROT_NONE)) {
            perror("emulated: no memory for a thread's stack");
            abort();
        }
        return p + FENCE_BYTES;
    }
    char *p = free_stacks.back();
    free_stacks.pop_back();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(p, STACK_BYTES); // frames of the fiber before left marks
#endif
    return p;
}

#ifndef FIBER_UCONTEXT
// Save the registers that a call preserves, exchange stacks, restore.
extern "C" void emulated_switch(void **from, void *to);
__asm__(".text\n"
        ".type emulated_switch,@function\n"
        "emulated_switch:\n"
        "pushq %rbp\n"
        "pushq %rbx\n"
        "pushq %r12\n"
        "pushq %r13\n"
        "pushq %r14\n"
        "pushq %r15\n"
        "movq %rsp,(%rdi)\n"
        "movq %rsi,%rsp\n"
        "popq %r15\n"
        "popq %r14\n"
        "popq %r13\n"
        "popq %r12\n"
        "popq %rbx\n"
        "popq %rbp\n"
        "ret\n"
        ".size emulated_switch,.-emulated_switch\n");
#endif

void fiber_begin(fiber *f, void (*entry)(), unsigned colour)
{
    f->stack = stack_take();
    f->bottom = f->stack;
    f->bytes = STACK_BYTES;
    f->fake_stack = nullptr;
    char *top = f->stack + STACK_BYTES - colour * 320 % FENCE_BYTES / 64 * 64;
#ifdef FIBER_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = (size_t)(top - f->stack);
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
#else
    void **p = (void **)top;
    *--p = nullptr; // where entry would return to; keeps the stack aligned as a call does
    *--p = (void *)entry;
    for (int i = 0; i < 6; i++)
        *--p = nullptr;
    f->sp = p;
#endif
}

static void leave(fiber *from, fiber *to, bool for_good)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? nullptr : &from->fake_stack, to->bottom, to->bytes);
#else
    (void)for_good;
#endif
#ifdef FIBER_UCONTEXT
    swapcontext(&from->context, &to->context);
#else
    emulated_switch(&from->sp, to->sp);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

void fiber_switch(fiber *from, fiber *to)
{
    leave(from, to, false);
}

void fiber_end(fiber *from, fiber *to)
{
    free_stacks.push_back(from->stack); // nobody takes it before we have left it
    leave(from, to, true);
    abort();
}

void fiber_entered(fiber *origin)
{
#ifdef __SANITIZE_ADDRESS__
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (!origin->bottom) {
        origin->bottom = bottom;
        origin->bytes = bytes;
    }
#else
    (void)origin;
#endif
}

} // namespace emulated
