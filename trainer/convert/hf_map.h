/* hf_map.h -- under which name and in which layout Hugging Face's models keep a parameter.

   Two families: `ttt`, the authors' PyTorch model, and `llama`, which is self_attention without
   pre_conv. Every layout is a change of places, so both ways are exact. */
#ifndef HF_MAP_H
#define HF_MAP_H

#include "params.h"
#include "tensors.h"

enum { HF_NAME_BYTES = 96 };

enum hf_layout {
    HF_SAME,
    HF_LIFTED, /* the same bytes, the last two axes exchanged, of which one is 1 */
    HF_TURNED, /* axes in reverse order: [rows][cols] is [cols][rows] there */
    HF_HALVED, /* turned; the pairs that RoPE turns in a head lie half a head apart there */
};

/* A parameter there. */
struct hf_entry {
    char name[HF_NAME_BYTES];
    enum hf_layout layout;
    int rows, cols;       /* of a turned one, here */
    int head;             /* columns of a head, of a halved one */
    struct tensor tensor; /* name, dims and shape there; F32 */
};

/* Zero means closed. */
struct hf_map {
    int count;
    struct hf_entry *list; /* [count], by the indices of params; owned */
};

/* The map of p's parameters, a model that c tells. -1 with why() for one that neither family has:
   pre_conv with self_attention. */
must_check int hf_map_open(struct hf_map *m, const struct params *p, const struct config *c);
void hf_map_close(struct hf_map *m); /* harmless when closed */

/* The elements of a parameter from our places to theirs and back; the arrays do not overlap. */
void hf_map_put(const struct hf_entry *e, float *theirs, const float *ours);
void hf_map_take(const struct hf_entry *e, float *ours, const float *theirs);

#endif
