/* hf_config.h -- config.json of Hugging Face's models and our configuration, both ways.

   model_type `ttt`, the authors' PyTorch model, and `llama`, whose file tells what a self_attention
   model is. Keys that are left out have that family's defaults. */
#ifndef HF_CONFIG_H
#define HF_CONFIG_H

#include "config.h"
#include "tensors.h"

/* Read PATH into c. -1 with why() for another family, or a setting that we have no model for, by
   its name: grouped heads, biases, scaled RoPE, quantised weights, share_qk without use_gate. */
must_check int hf_config_read(struct config *c, const char *path);

/* The text of config.json, the caller's; NULL with why(). dtype: of the weights beside it. */
char *hf_config_text(const struct config *c, enum tensor_dtype dtype);

#endif
