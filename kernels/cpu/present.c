/* present.c -- the CPU has every operation. */
#include "kernels.h"

bool has_attention(void)
{
    return true;
}

bool has_ttt_mlp(void)
{
    return true;
}
