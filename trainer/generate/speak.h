/* speak.h -- prompts in, texts out: for files and pipes, or for a person at the terminal. */
#ifndef SPEAK_H
#define SPEAK_H

#include "prompts.h"
#include "texts.h"

/* What to do. Everything is borrowed. */
struct speak {
    struct texts *texts;
    const struct tokenizer *tokenizer;
    const struct memory_owner *owner;
    const struct memory *memory; /* to go on from, or NULL; its path for sentences */
    const char *memory_path;
    const char *save_path; /* where to keep the memory of the one prompt, or NULL */
    bool bos, echo, json;
    int64_t samples; /* of each prompt */
    int batch;       /* texts side by side; 1 streams */
    uint64_t seed;   /* of a prompt's first sample */
};

/* Go on from every prompt, and close them. Texts come on stdout in the prompts' order; those
   before a bad prompt come out before its sentence. -1 with why(). */
must_check int speak_prompts(const struct speak *s, struct prompts *from);

/* Lines from the terminal until its end or /quit. /new forgets all, /save FILE keeps the memory,
   /help tells. Ctrl-C ends the text that is being read or made. -1 with why(). */
must_check int speak_with_person(const struct speak *s);

#endif
