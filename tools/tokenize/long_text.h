/* long_text.h -- a text too long to travel whole: held once, judged once, handed out in parts that
   are encoded on their own. */
#ifndef LONG_TEXT_H
#define LONG_TEXT_H

#include "documents.h"

/* Zero means that there is none. */
struct long_text {
    const uint8_t *text; /* [bytes], borrowed */
    size_t bytes, at;    /* what is before `at` was handed out */
    bool faulty;         /* to be mended; where and why: */
    struct jsonl_place fault;
    char reason[80];
};

/* Take `text`, which begins at `place` and is written over where its escapes are undone. Where it
   has a fault l->faulty says so. */
void long_text_hold(struct long_text *l, uint8_t *text, size_t bytes, bool escaped,
                    struct jsonl_place place);

/* The bytes of the next part, cut where the ids stay the same: about LONG_TEXT_PART, or more where
   nothing can be cut. */
enum { LONG_TEXT_PART = 1 << 20 };
size_t long_text_part(const struct long_text *l, const struct tokenizer *t, enum special special);

#endif
