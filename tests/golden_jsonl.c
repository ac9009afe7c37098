/* golden_jsonl.c -- odd JSON inputs and what the reference's loader makes of them: [DIR MODEL].

   DIR/index.jsonl has a case a line: what the reference accepts must give its ids here; what it
   refuses is refused here too, but for the cases named below, which are read on purpose. */
#include "check.h"
#include "reader.h"
#include "sha256.h"

#include <glob.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Refused by the reference, read here: nothing in them touches a text (see jsonl.h). */
static const struct {
    const char *name;
    size_t documents;
} read_here[] = {
    {"duplicate-other", 1},        {"empty-file", 0},
    {"extra-conflict", 2},         {"extra-types", 1},
    {"invalid-utf8-other-key", 1}, {"lone-surrogate-other-column", 1},
    {"only-newline", 0},           {"timestamps", 2},
};

/* What became of a case. */
struct outcome {
    struct ids ids;
    size_t documents, faults;
    char reason[256]; /* of the first fault */
};

/* paths end with NULL. */
static void read_files(struct scratch *s, char **paths, struct outcome *o)
{
    struct inputs inputs;
    CHECK(!inputs_open(&inputs, paths, (struct inputs_rule){0}));
    struct reader reader = {.inputs = &inputs, .portion = portion_whole(&inputs)};
    struct documents run = {0};
    int got;
    while (documents_clear(&run), (got = reader_fill(&reader, &run)) == 1) {
        documents_encode(&run, s, (struct framing){.bos = true, .eos = true}, ON_ERROR_FAIL);
        CHECK(!run.failure[0]);
        if (run.fault_count && !o->faults)
            snprintf(o->reason, sizeof o->reason, "%s", run.faults[0].reason);
        o->faults += run.fault_count;
        o->documents += run.count - run.fault_count;
        o->ids.id = realloc(o->ids.id, 4 * (o->ids.count + run.ids.count + 1));
        for (size_t i = 0; i < run.ids.count; i++)
            o->ids.id[o->ids.count++] = run.ids.id[i];
    }
    if (got < 0) {
        o->faults++;
        snprintf(o->reason, sizeof o->reason, "%s", why());
    }
    reader_close(&reader);
    inputs_close(&inputs);
    documents_free(&run);
}

static void check_ids(const struct outcome *o, const json_t *golden)
{
    const json_t *ids = json_object_get(golden, "ids");
    const char *sum = json_string_value(json_object_get(golden, "sha256_u16"));
    CHECK(o->ids.count == (size_t)json_integer_value(json_object_get(golden, "tokens")));
    for (size_t i = 0; i < json_array_size(ids) && i < o->ids.count; i++)
        CHECK(json_integer_value(json_array_get(ids, i)) == o->ids.id[i]);
    CHECK(sum || json_array_size(ids) == o->ids.count);
    if (!sum)
        return;
    uint16_t *narrow = malloc(2 * o->ids.count + 1);
    for (size_t i = 0; i < o->ids.count; i++)
        narrow[i] = (uint16_t)o->ids.id[i];
    char hex[65];
    sha256(hex, narrow, 2 * o->ids.count);
    CHECK(!strcmp(hex, sum));
    free(narrow);
}

static void check_case_of(struct scratch *s, const char *dir, const json_t *golden)
{
    case_begin(json_string_value(json_object_get(golden, "name")));
    glob_t found = {0};
    const json_t *files = json_object_get(golden, "files");
    for (size_t i = 0; i < json_array_size(files); i++) {
        char pattern[4096];
        snprintf(pattern, sizeof pattern, "%s/%s", dir,
                 json_string_value(json_array_get(files, i)));
        CHECK(!glob(pattern, i ? GLOB_APPEND : 0, NULL, &found));
    }
    struct outcome o = {0};
    read_files(s, found.gl_pathv, &o);
    if (!strcmp(json_string_value(json_object_get(golden, "status")), "ok")) {
        CHECK(o.faults == 0);
        check_ids(&o, golden);
    } else {
        bool here = false;
        for (size_t i = 0; i < sizeof read_here / sizeof *read_here; i++)
            if (!strcmp(read_here[i].name, check_case)) {
                here = true;
                CHECK(o.faults == 0 && o.documents == read_here[i].documents);
            }
        CHECK(here || (o.faults && o.reason[0]));
    }
    case_end(o.reason);
    ids_free(&o.ids);
    globfree(&found);
}

int main(int argc, char **argv)
{
    const char *shared = getenv("TTT_SHARED");
    char dir[2048], model[2048], index[4096];
    if (argc != 3 && (argc != 1 || !shared || !*shared)) {
        case_skip("golden_jsonl", "no DIR MODEL is given, and TTT_SHARED names no place");
        return check_finish();
    }
    snprintf(dir, sizeof dir, "%s%s", argc == 3 ? argv[1] : shared,
             argc == 3 ? "" : "/golden/data/format");
    snprintf(model, sizeof model, "%s%s", argc == 3 ? argv[2] : shared,
             argc == 3 ? "" : "/data/llama2-tokenizer.model");
    snprintf(index, sizeof index, "%s/index.jsonl", dir);

    struct tokenizer t;
    struct scratch s = {0};
    FILE *lines = fopen(index, "r");
    if (!lines || tokenizer_open(&t, model) || encoder_open(&s.encoder, &t)) {
        fprintf(stderr, "golden_jsonl: %s\n", lines ? why() : index);
        return 1;
    }
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, lines) > 0) {
        json_t *golden = json_loads(line, 0, NULL);
        check_case_of(&s, dir, golden);
        json_decref(golden);
    }
    free(line);
    fclose(lines);
    scratch_free(&s);
    tokenizer_close(&t);
    return check_finish();
}
