/* fuzz_model.c -- SentencePiece models: any bytes, and edits of a small one; what opens encodes and
   decodes. test_tokenizer_model damages a large one. */
#include "fuzz_use.h"
#include "made_model.h"

/* A model in which a few edits meet everything. */
static struct made_model made_small(void)
{
    struct made_model m = {0};
    made_specials(&m);
    made_piece(&m, "\u2581", -1, PIECE_NORMAL);
    made_piece(&m, "n", -2, PIECE_NORMAL);
    made_piece(&m, "i", -3, PIECE_NORMAL);
    made_piece(&m, "in", -4, PIECE_NORMAL);
    made_piece(&m, "\u2581in", -5, PIECE_NORMAL);
    made_piece(&m, "wor", 0, PIECE_USER);
    made_end(&m, (struct made_settings){.bos = "<s>", .eos = "</s>"});
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct made_model small; /* kept for good */
    if (!small.data)
        small = made_small();
    size_t n;
    const uint8_t *file = fuzz_subject(small.data, small.bytes, data, bytes, &n);
    fuzz_use(file, n);
    return 0;
}
