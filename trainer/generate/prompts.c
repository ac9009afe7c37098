/* prompts.c -- the texts to go on from: as given, from a file of lines, or JSON lines. */
#include "prompts.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int prompts_open(struct prompts *p, const char *const *given, int count, const char *path,
                 bool json)
{
    *p = (struct prompts){.given = given, .count = count, .json = json};
    if (!path)
        return 0;
    bool standard = !strcmp(path, "-");
    snprintf(p->path, sizeof p->path, "%s", standard ? "standard input" : path);
    p->file = standard ? stdin : fopen(path, "re");
    return p->file ? 0 : fail("%s: %s", path, strerror(errno));
}

void prompts_close(struct prompts *p)
{
    if (p->file && p->file != stdin)
        fclose(p->file);
    *p = (struct prompts){0};
}

void prompt_close(struct prompt *one)
{
    free(one->text);
    json_decref(one->record);
    *one = (struct prompt){0};
}

/* Up to an end mark, or with mark -1 up to the end of the file. -1 at its end. */
static int read_until(struct prompt *one, FILE *from, int mark)
{
    size_t room = 0;
    if (mark >= 0) {
        ssize_t n = getdelim(&one->text, &room, mark, from);
        one->bytes = n > 0 ? (size_t)n : 0;
        return n < 0 ? -1 : 0;
    }
    for (;;) {
        if (one->bytes == room) {
            char *larger = realloc(one->text, room = 2 * room + 4096);
            if (!larger)
                return -1;
            one->text = larger;
        }
        size_t n = fread(one->text + one->bytes, 1, room - one->bytes, from);
        one->bytes += n;
        if (n == 0)
            return 0;
    }
}

static int take_given(struct prompts *p, struct prompt *one)
{
    const char *text = p->given[p->next++];
    if (p->count > 1)
        snprintf(one->place, sizeof one->place, "prompt %d", p->next);
    else
        snprintf(one->place, sizeof one->place, "the prompt");
    if (!strcmp(text, "-")) {
        errno = 0;
        if (read_until(one, stdin, -1) || ferror(stdin))
            return fail("standard input could not be read: %s", strerror(errno));
        return 1;
    }
    one->text = strdup(text);
    one->bytes = strlen(text);
    return one->text ? 1 : fail("out of memory for the prompt");
}

/* The prompt of a record in the place of its line. */
static int take_record(struct prompt *one)
{
    json_error_t e;
    one->record = json_loadb(one->text, one->bytes, JSON_REJECT_DUPLICATES, &e);
    if (!one->record)
        return fail("%s: column %d: %s", one->place, e.column, e.text);
    const json_t *prompt = json_object_get(one->record, "prompt");
    const json_t *text = prompt ? prompt : json_object_get(one->record, "text");
    if (!json_is_string(text))
        return fail("%s: expected an object with a string \"prompt\" or \"text\"", one->place);
    one->bytes = json_string_length(text);
    free(one->text);
    one->text = malloc(one->bytes + 1);
    if (!one->text)
        return fail("out of memory for the prompt");
    memcpy(one->text, json_string_value(text), one->bytes + 1);
    return 1;
}

static int take_line(struct prompts *p, struct prompt *one)
{
    do {
        prompt_close(one);
        snprintf(one->place, sizeof one->place, "%.4000s, line %zu", p->path, ++p->line);
        errno = 0;
        if (read_until(one, p->file, '\n'))
            return ferror(p->file) ? fail("%s: %s", p->path, strerror(errno)) : 0;
        while (one->bytes && strchr("\r\n", one->text[one->bytes - 1]))
            one->text[--one->bytes] = 0;
    } while (p->json && strspn(one->text, " \t") == one->bytes); /* blanks between records */
    return p->json ? take_record(one) : 1;
}

int prompts_next(struct prompts *p, struct prompt *one)
{
    size_t bad;
    *one = (struct prompt){0};
    int status = p->next < p->count ? take_given(p, one) : p->file ? take_line(p, one) : 0;
    if (status == 1 && !utf8_valid(one->text, one->bytes, &bad))
        status = fail("%s is not UTF-8: byte %zu", one->place, bad);
    if (status != 1)
        prompt_close(one);
    return status;
}
