/* encoder.h -- text to ids with a tokenizer; one encoder per thread.

   The ids are those of sentencepiece, and for documents those of Hugging Face's LlamaTokenizerFast:
   of all neighbours that make a piece the best score merges first, the leftmost among equals. The
   work grows as n log n at worst, and as n on real text: a text is cut wherever no piece holds the
   two neighbouring characters, which changes nothing, and the cuts are remembered.

   Text is well-formed UTF-8: the caller has asked utf8_valid. (Other bytes do no harm: each one
   becomes its byte piece.) NUL is a character like others. */
#ifndef ENCODER_H
#define ENCODER_H

#include "err.h"
#include "merger.h"
#include "segments.h"
#include "tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a literal "<s>", "</s>" or "<unk>" (the model's own names) in the text means. */
enum special {
    SPECIAL_LITERAL, /* the control id itself; the parts of the text around it are texts of their
                        own, each with its dummy blank: what the reference does */
    SPECIAL_TEXT,    /* characters like others: for text that is not trusted */
};

/* Ids that grow; the caller's. Start from {0}; set count = 0 to use it again. */
struct ids {
    uint32_t *id; /* [count], owned */
    size_t count, room;
};
void ids_free(struct ids *ids);

/* Zero means closed. Fields are private. */
struct encoder {
    const struct tokenizer *t; /* borrowed: must stay open */
    struct segments cache[3];  /* owned: of short, long and longest segments */
    struct merger merger;      /* owned */
    bool opens[256];           /* the bytes that special names begin with */
    int only;                  /* the one they all begin with, or -1 */
    uint8_t *joined;           /* owned: a text with its end mark, where the two may run together */
    size_t joined_room;
    uint8_t *spaced; /* owned: a text with ' ' for all its blanks, to find user-defined pieces in */
    size_t spaced_room;
};

must_check int encoder_open(struct encoder *e, const struct tokenizer *t);
void encoder_close(struct encoder *e); /* harmless when closed */

/* Append the ids of the text to out, without BOS and EOS. Fails only for want of memory, or for a
   stretch of 2^31 characters without a place to cut. */
must_check int encoder_encode(struct encoder *e, const void *text, size_t bytes,
                              enum special special, struct ids *out);

/* How a document is framed. */
struct framing {
    bool bos, eos;
    enum special special;
};

/* Append one document to out, exactly as the reference's process_dataset makes it with
   {bos, eos, SPECIAL_LITERAL}: BOS, the ids, EOS. An empty text is BOS alone, without EOS. Fails as
   encoder_encode does, and when an id is asked for that the model does not have. */
must_check int encoder_document(struct encoder *e, const void *text, size_t bytes,
                                struct framing framing, struct ids *out);

/* The same of a document in parts, cut where encoder_cut says, by any encoders of one tokenizer:
   the ids of all parts, one behind the other, are those of the document. A document of several
   parts has no empty one, and the last has at least ENCODER_LAST bytes. */
#define ENCODER_LAST (3 * PIECE_MAX)
must_check int encoder_part(struct encoder *e, const void *text, size_t bytes,
                            struct framing framing, bool first, bool last, struct ids *out);

/* The last place in text[0 .. bytes), which begins a document or a later part of it, where the
   document may be cut; 0 when there is none. Text is UTF-8, but for bytes that each encoder will
   have made U+FFFD. */
size_t encoder_cut(const struct tokenizer *t, enum special special, const void *text, size_t bytes);

#endif
