/* test_evaluate.c -- evaluation against the definitions in double, at every place of a text. */
#include "check.h"
#include "device.h"
#include "evaluate.h"
#include "plain_model.h"
#include "random.h"
#include "scratch.h"

enum { VOCAB = 48, SEQ = 16, TOKENS = 3 * SEQ + 6, BOS = 1 };

/* An array of ids as numpy writes int32; every ninth begins a document. */
static const char *write_ids(int32_t *ids, int count)
{
    char head[128];
    uint8_t file[128 + 4 * TOKENS];
    for (int i = 0; i < count; i++)
        ids[i] = i % 9 == 0 ? BOS : 2 + (int32_t)(random_uniform(3, 5, (uint64_t)i) * (VOCAB - 2));
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(head + 10, sizeof head - 10,
                     "{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }", count);
    head[10 + n] = ' ';
    head[127] = '\n';
    memcpy(file, head, sizeof head);
    memcpy(file + 128, ids, 4 * (size_t)count);
    const char *path = scratch("ids.npy");
    scratch_write(path, file, 128 + 4 * (size_t)count);
    return path;
}

/* The loss of target t of the window that begins at `first`, in double. */
static double plain_at(const struct plain *m, const int32_t *ids, int first, int count, int t)
{
    int32_t input[SEQ] = {0}, target[SEQ] = {0};
    float mask[SEQ] = {0};
    for (int i = 0; i < count; i++) {
        input[i] = ids[first + i];
        target[i] = ids[first + i + 1];
    }
    mask[t] = 1;
    return plain_row_loss(m, input, target, mask);
}

struct kind {
    const char *name, *update;
};

/* All sums of a text, read `rows` windows at once and broken off after `steps` of them. */
static void read_all(struct evaluate *e, struct config *c, struct params *p, const struct data *d,
                     int rows, const struct evaluate_bytes *bytes, int steps)
{
    struct model m;
    struct batch b;
    uint64_t tail = data_tail(d);
    CHECK(batch_open(&b, rows, SEQ) == 0 && model_open(&m, c, p, rows, SEQ, false) == 0);
    while (e->next < d->windows + (tail > 0) && steps--)
        CHECK(evaluate_step(e, &m, d, &b, d->windows, tail, bytes) == 0);
    model_close(&m);
    batch_close(&b);
}

static void test_kind(const struct kind *k)
{
    struct config c;
    struct params p;
    int32_t ids[TOKENS];
    struct data d;
    case_begin(k->name);
    CHECK(config_load(&c, "125m-TTT") == 0 &&
          config_update(&c, "dict(vocab_size=48, hidden_size=32, intermediate_size=40, "
                            "num_hidden_layers=2, num_attention_heads=2)") == 0 &&
          config_update(&c, k->update) == 0 && params_list(&p, &c) == 0 &&
          params_alloc(&p, false) == 0);
    params_init(&p, 1, 0.3);
    CHECK(data_open_short(&d, write_ids(ids, TOKENS), SEQ, VOCAB, true) == 0);
    CHECK(d.windows == 3 && data_tail(&d) == 5);

    struct plain plain = {.config = c, .params = &p, .ttt_lr_mult = 1, .batch = 1, .seq = SEQ};
    plain.value = plain_alloc(p.floats);
    for (size_t i = 0; i < p.floats; i++)
        plain.value[i] = (double)p.master[i];
    uint16_t lengths[VOCAB];
    bool blank[VOCAB];
    for (int i = 0; i < VOCAB; i++) {
        lengths[i] = (uint16_t)(i < 2 ? 0 : 1 + i % 3);
        blank[i] = i % 2;
    }
    struct evaluate_bytes bytes = {lengths, BOS, blank};

    struct evaluate e, again;
    CHECK(evaluate_open(&e, SEQ) == 0);
    read_all(&e, &c, &p, &d, 2, &bytes, 100);
    double worst = 0, total = 0, rows = 0, place[SEQ] = {0};
    uint64_t counted = 0, count[SEQ] = {0}, text = 0;
    for (int first = 0; first < TOKENS - 1; first += SEQ) {
        int here = TOKENS - 1 - first < SEQ ? TOKENS - 1 - first : SEQ, in_row = 0;
        double row = 0;
        for (int t = 0; t < here; t++) {
            int32_t id = ids[first + t + 1];
            if (id == BOS)
                continue;
            double loss = plain_at(&plain, ids, first, here, t);
            place[t] += loss;
            count[t]++;
            row += loss;
            in_row++;
            text += lengths[id] - (uint64_t)(ids[first + t] == BOS && blank[id]);
        }
        total += row;
        counted += (uint64_t)in_row;
        rows += here == SEQ ? row / in_row : 0;
    }
    for (int t = 0; t < SEQ; t++) {
        CHECK(e.count[t] == count[t]);
        double apart = fabs(e.loss[t] - place[t]);
        worst = apart > worst ? apart : worst;
        CHECK(apart <= 3e-5);
    }
    struct evaluate_sum sum = evaluate_sum(&e, 0, SEQ), whole = evaluate_rows(&e);
    CHECK(sum.tokens == counted && e.bytes == text);
    CHECK(fabs(sum.loss - total / (double)counted) <= 1e-5);
    CHECK(fabs(sum.perplexity - exp(total / (double)counted)) <= 1e-3);
    CHECK(fabs(sum.bits_per_byte - total / M_LN2 / (double)text) <= 1e-5);
    CHECK(e.rows == 3 && fabs(whole.loss - rows / 3) <= 1e-5);
    CHECK(sum.accuracy >= 0 && sum.accuracy <= 1);

    /* Broken off after a batch, written, read, gone on: the same sums to the last bit. */
    CHECK(evaluate_open(&again, SEQ) == 0);
    read_all(&again, &c, &p, &d, 2, &bytes, 1);
    CHECK(again.next == 2);
    json_t *written = evaluate_to_json(&again);
    char *json = json_dumps(written, JSON_REAL_PRECISION(17));
    json_decref(written);
    evaluate_close(&again);
    CHECK(evaluate_open(&again, SEQ) == 0);
    json_t *read = json_loads(json, 0, NULL);
    CHECK(evaluate_from_json(&again, read, "a file") == 0);
    read_all(&again, &c, &p, &d, 2, &bytes, 100);
    CHECK(!memcmp(e.loss, again.loss, sizeof(double) * SEQ));
    CHECK(!memcmp(e.count, again.count, sizeof *e.count * SEQ));
    CHECK(e.row_loss == again.row_loss && e.bytes == again.bytes && e.next == again.next);
    json_object_del(read, "count");
    CHECK(evaluate_from_json(&again, read, "a file") == -1 && strstr(why(), "a file"));
    json_decref(read);
    free(json);
    evaluate_close(&again);
    evaluate_close(&e);
    free(plain.value);
    data_close(&d);
    params_close(&p);
    char note[64];
    snprintf(note, sizeof note, "largest difference at a place %.1e", worst);
    case_end(note);
}

int main(void)
{
    static const struct kind kinds[] = {
        {"linear", "dict(seq_modeling_block='ttt_linear')"},
        {"mlp, mini-batch 8",
         "dict(seq_modeling_block='ttt_mlp', ttt_base_lr=0.1, mini_batch_size=8)"},
        {"attention", "dict(seq_modeling_block='self_attention', pre_conv=False)"},
    };
    const char *closed = device_open(0);
    if (closed) {
        fprintf(stderr, "test_evaluate: %s\n", closed);
        return 1;
    }
    scratch_make();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        test_kind(&kinds[i]);
    device_close();
    return check_finish();
}
