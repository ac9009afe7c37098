/* hf.h -- our parameters in the directory of a Hugging Face model, both ways.

     DIR/config.json                        what the model is (hf_config.h)
         model.safetensors                  the weights, or cut into
         model-0000I-of-0000N.safetensors   and
         model.safetensors.index.json       {"metadata": {"total_size"}, "weight_map": {NAME: FILE}}

   Names and layouts: hf_map.h. */
#ifndef HF_H
#define HF_H

#include "params.h"
#include "tensors.h"

/* What was read or written. A plain value. */
struct hf_sum {
    int files, tensors;
    uint64_t bytes;           /* of tensors */
    enum tensor_dtype widest; /* of what was read */
};

/* Read DIR: the configuration into c, then the weights into p, which is zero; F32, BF16 or F16.
   Every tensor of the model must be there, of its shape, and no other but those that older versions
   keep and that can be computed: RoPE's frequencies, and a tied head, equal to the embedding. All
   that is checked before anything is allocated. -1 with why(). */
must_check int hf_load(struct config *c, struct params *p, const char *dir, struct hf_sum *sum);

/* Write p into DIR, which is made where it is missing and must not hold a model yet; config.json
   last, so that its presence means whole. F32 files are the bytes that transformers writes. Files
   of more than max_bytes of tensors are cut. On failure, -1 with why(), what was written is
   removed. */
must_check int hf_save(const struct config *c, const struct params *p, const char *dir,
                       enum tensor_dtype dtype, int64_t max_bytes, struct hf_sum *sum);

#endif
