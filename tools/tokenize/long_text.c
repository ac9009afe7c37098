/* long_text.c -- a text too long to travel whole, in parts. */
#include "long_text.h"

#include "utf8.h"

void long_text_hold(struct long_text *l, uint8_t *text, size_t bytes, bool escaped,
                    struct jsonl_place place)
{
    size_t bad = SIZE_MAX, at;
    struct jsonl_half half = {.at = SIZE_MAX};
    *l = (struct long_text){.text = text, .bytes = bytes};
    uint8_t value = utf8_valid(text, bytes, &bad) ? 0 : text[bad];
    if (escaped)
        l->bytes = jsonl_decode(text, text, bytes, &half);
    l->faulty = text_faulty(bad, value, &half, &at, l->reason);
    if (l->faulty && escaped) /* which has no line ends */
        l->fault = (struct jsonl_place){.line = place.line, .offset = place.offset + at};
    else if (l->faulty)
        l->fault = text_place(place, text, at);
}

size_t long_text_part(const struct long_text *l, const struct tokenizer *t, enum special special)
{
    size_t left = l->bytes - l->at;
    for (size_t most = LONG_TEXT_PART; most <= left / 2; most *= 2) {
        size_t n = encoder_cut(t, special, l->text + l->at, most);
        if (n)
            return n;
    }
    return left;
}
