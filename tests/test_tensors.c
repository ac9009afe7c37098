/* test_tensors.c -- safetensors: written, read back, cut, flipped and contradictory. */
#include "check.h"
#include "report.h"
#include "scratch.h"
#include "tensors.h"

static const char *path;

/* A file of this header (without its length) and `data_bytes` bytes. */
static int open_header(const char *header, size_t data_bytes)
{
    static uint8_t file[4096];
    uint64_t n = strlen(header);
    memset(file, 7, sizeof file);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    scratch_write(path, file, 8 + n + data_bytes);
    struct tensors t;
    int status = tensors_open(&t, path);
    tensors_close(&t);
    return status;
}

static const float weights[6] = {1, -2, 3.5f, 0, 5, 6};
static const int64_t steps[1] = {1234567890123};

static int write_sample(struct xxh3 *digest)
{
    const struct tensor list[] = {
        {.name = "a/\"wide\"/kernel", .dtype = TENSOR_F32, .dims = 2, .shape = {2, 3}},
        {.name = "nothing", .dtype = TENSOR_BF16, .dims = 2, .shape = {0, 4}},
        {.name = "step", .dtype = TENSOR_I64},
    };
    const struct tensor_note notes[] = {{"format", "ttt"}, {"said", "two\nlines"}};
    struct tensors_writer w;
    if (tensors_create(&w, path, list, 3, notes, 2) || tensors_put(&w, weights, 10) ||
        tensors_put(&w, (const char *)weights + 10, sizeof weights - 10) ||
        tensors_put(&w, steps, sizeof steps))
        return -1;
    return tensors_commit(&w, digest);
}

static void test_round_trip(void)
{
    case_begin("round-trip");
    struct xxh3 first, again;
    struct tensors t;
    CHECK(!write_sample(&first) && !write_sample(&again));
    CHECK(!strcmp(first.hex, again.hex));
    CHECK(!tensors_open(&t, path));
    CHECK(!strcmp(xxh3_of(t.map.data, t.map.bytes).hex, first.hex));
    CHECK(t.count == 3 && t.notes == 2);
    CHECK(le64(t.map.data) % 8 == 0);
    const struct tensor *a = tensors_find(&t, "a/\"wide\"/kernel");
    CHECK(a && a->dtype == TENSOR_F32 && a->dims == 2 && a->shape[0] == 2 && a->shape[1] == 3);
    CHECK(a && a->count == 6 && a->bytes == 24 && !memcmp(a->data, weights, 24));
    const struct tensor *n = tensors_find(&t, "nothing"), *s = tensors_find(&t, "step");
    CHECK(n && n->bytes == 0 && n->dims == 2);
    CHECK(s && s->dims == 0 && s->count == 1 && !memcmp(s->data, steps, 8));
    CHECK(!tensors_find(&t, "absent") && !tensors_note(&t, "absent"));
    const char *said = tensors_note(&t, "said");
    CHECK(said && !strcmp(said, "two\nlines"));
    tensors_close(&t);
    tensors_close(&t);
    case_end("");
}

static void test_writer_refuses(void)
{
    const struct tensor twice[] = {{.name = "x", .dtype = TENSOR_U8, .dims = 1, .shape = {4}},
                                   {.name = "x", .dtype = TENSOR_U8, .dims = 1, .shape = {4}}};
    const struct tensor huge = {.name = "x",
                                .dtype = TENSOR_F64,
                                .dims = 2,
                                .shape = {INT64_MAX, 2}};
    struct tensors_writer w;
    case_begin("writer-refuses");
    CHECK(tensors_create(&w, path, twice, 2, NULL, 0));
    CHECK(tensors_create(&w, path, &huge, 1, NULL, 0));
    CHECK(!tensors_create(&w, path, twice, 1, NULL, 0));
    CHECK(tensors_put(&w, "12345", 5)); /* one more than announced */
    CHECK(!tensors_put(&w, "123", 3));
    CHECK(tensors_commit(&w, NULL)); /* one is missing */
    tensors_abandon(&w);
    case_end("");
}

static void test_contradictions(void)
{
    static const struct {
        const char *name, *header;
        size_t data_bytes;
    } bad[] = {
        {"not-json", "{\"a\":", 0},
        {"not-an-object", "[]", 0},
        {"entry-not-an-object", "{\"a\":1}", 0},
        {"fourth-member", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}",
         1},
        {"unknown-dtype", "{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
        {"negative-size", "{\"a\":{\"dtype\":\"U8\",\"shape\":[-1,-1],\"data_offsets\":[0,1]}}", 1},
        {"fraction", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1},
        {"product-overflows",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0},
        {"bytes-overflow",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0},
        {"nine-dimensions",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1},
        {"wrong-length", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4},
        {"backwards", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,0]}}", 1},
        {"past-the-end", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 3},
        {"hole", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3},
        {"rest", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3},
        {"overlap",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3},
        {"same-name",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2},
        {"note-not-text", "{\"__metadata__\":{\"a\":1}}", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        case_begin(bad[i].name);
        CHECK(open_header(bad[i].header, bad[i].data_bytes) && strstr(why(), path));
        case_end("");
    }
    case_begin("sound-header");
    CHECK(!open_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}   ", 3));
    case_end("");

    case_begin("header-length");
    static const uint8_t past[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    static const uint8_t vast[16] = {0, 0, 0, 0, 1, 0, 0, 0, '{', '}'};
    struct tensors t;
    scratch_write(path, past, sizeof past);
    CHECK(tensors_open(&t, path));
    scratch_write(path, vast, sizeof vast);
    CHECK(tensors_open(&t, path));
    case_end("");
}

/* Read everything an open file offers, so that a wrong pointer or length is met. */
static uint64_t touch(const struct tensors *t)
{
    uint64_t sum = 0;
    for (int i = 0; i < t->count; i++)
        for (size_t b = 0; b < t->list[i].bytes; b++)
            sum += ((const uint8_t *)t->list[i].data)[b];
    for (int i = 0; i < t->notes; i++)
        sum += strlen(t->note[i].text);
    return sum;
}

static void test_cuts_and_flips(void)
{
    struct tensors t;
    struct map whole;
    if (write_sample(NULL) || map_open(&whole, path))
        die("%s", why());
    size_t bytes = whole.bytes;
    uint8_t *file = malloc(bytes);
    if (!file)
        die("out of memory");
    memcpy(file, whole.data, bytes);
    map_close(&whole);

    case_begin("every-cut");
    for (size_t n = 0; n < bytes; n++) {
        scratch_write(path, file, n);
        CHECK(tensors_open(&t, path));
    }
    case_end("");

    case_begin("every-flip");
    uint64_t survived = 0, sum = 0;
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        scratch_write(path, file, bytes);
        if (!tensors_open(&t, path)) {
            sum += touch(&t);
            survived++;
        }
        tensors_close(&t);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    char note[96];
    snprintf(note, sizeof note, "%zu flips, %llu read as another sound file", bytes * 8,
             (unsigned long long)survived);
    CHECK(sum && survived < bytes * 8);
    case_end(note);
    free(file);
}

int main(void)
{
    program = "test_tensors";
    scratch_make();
    path = scratch("a.safetensors");
    test_round_trip();
    test_writer_refuses();
    test_contradictions();
    test_cuts_and_flips();
    return check_finish();
}
