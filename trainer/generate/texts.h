/* texts.h -- texts that go on side by side, token by token. */
#ifndef TEXTS_H
#define TEXTS_H

#include "decode.h"
#include "encoder.h"
#include "memory.h"
#include "sample.h"
#include "stream.h"

#include <signal.h>

enum text_end { TEXT_GOES_ON, TEXT_EOS, TEXT_STOP, TEXT_LENGTH, TEXT_INTERRUPTED };

/* "eos", "stop", ... for JSON. */
const char *text_end_name(enum text_end e);

/* One text. Fill ids (its prompt), chance and out; the rest begins at zero. */
struct text {
    struct ids ids; /* to be read; owned, as are the next two */
    size_t read;    /* of those, so far */
    bool echo;      /* what is read is put out */
    struct sample_text chance;
    struct stream out;
    int64_t made;    /* tokens chosen */
    int32_t last;    /* the token chosen last */
    bool pending;    /* which the model has not read yet */
    bool keeps;      /* note in `told` what the model reads, and what was in the memory */
    struct ids told; /* owned */
    enum text_end end;
};

void text_close(struct text *t); /* harmless when closed */

/* What all texts share. */
struct texts_config {
    int64_t tokens;                         /* to make at most, for each */
    uint32_t eos_id;                        /* ends a text; TOKENIZER_NONE: nothing does */
    const struct flag_list *stops;          /* or NULL */
    const volatile sig_atomic_t *interrupt; /* or NULL; when true every text ends, read or not */
};

/* Zero means closed. */
struct texts {
    struct texts_config config;
    const struct config *model; /* borrowed, as is params */
    struct params *params;
    struct decode decode;
    struct sampler sampler;
    float *logits;       /* [batch][vocab], owned, as are the next three */
    int32_t *input;      /* [batch] */
    double *draw;        /* [batch], for the device to choose with */
    int32_t *chosen;     /* [batch], its choice, where the logits are away */
    bool away;           /* the logits after what was read last are on the device alone */
    bool fresh;          /* logits are those after what was read last */
    uint64_t read, made; /* tokens, and the time they took */
    double read_s, made_s;
};

must_check int texts_open(struct texts *t, const struct texts_config *c, const struct config *model,
                          struct params *p, const struct sample_config *choice, int vocab);
void texts_close(struct texts *t); /* harmless when closed */

/* `batch` texts begin, from nothing or from a memory (its path for sentences). capacity: tokens
   that each may come to, which attention has to be told. */
must_check int texts_begin(struct texts *t, int batch, int64_t capacity, const struct memory *m,
                           const char *path);

/* The text begins behind a memory. */
must_check int text_remember(struct text *t, const struct memory *m);

/* Read the ids that the only text has left, and keep its memory. */
must_check int texts_save(struct texts *t, struct text *one, const struct memory_owner *owner,
                          const char *path);

/* Read what each has to read, as decode_read does, then choose tokens until every one has ended.
   Prompts need not be of one length. list [batch]. A text is the same whichever are beside it, up
   to rounding. */
must_check int texts_run(struct texts *t, struct text *list);

/* Let an ended text go on with more to read: its last token, then ids, which are taken over. */
must_check int texts_go_on(struct text *one, struct ids *ids);

#endif
