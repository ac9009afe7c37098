/* eval_report.c -- what ttt-eval has found: a table, JSON, a picture. */
#include "eval_report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct evaluate_sum sum_of(const struct eval_result *r)
{
    return r->reference ? evaluate_rows(r->sums) : evaluate_sum(r->sums, 0, r->sums->seq);
}

static int bins_of(int seq, int bins)
{
    return bins < 1 || bins > seq ? seq : bins;
}

/* Places first..last-1 of bin i. */
static void find_bin(int seq, int bins, int i, int *first, int *last)
{
    int64_t n = bins_of(seq, bins);
    *first = (int)(seq * (int64_t)i / n);
    *last = (int)(seq * (int64_t)(i + 1) / n);
}

/* ---- the table ---------------------------------------------------------------------------- */

void eval_table_head(void)
{
    printf("%10s %8s %14s %9s %11s %9s %9s  %s\n", "seq_length", "step", "tokens", "loss",
           "perplexity", "bits/byte", "accuracy", "checkpoint, dataset");
}

void eval_table_line(const struct eval_result *r)
{
    struct evaluate_sum s = sum_of(r);
    char bits[16] = "-";
    if (isfinite(s.bits_per_byte))
        snprintf(bits, sizeof bits, "%.4f", s.bits_per_byte);
    printf("%10d %8" PRId64 " %14" PRIu64 " %9.4f %11.4f %9s %9.4f  %s, %s/%s\n", r->sums->seq,
           r->step, s.tokens, s.loss, s.perplexity, bits, s.accuracy, r->checkpoint, r->dataset,
           r->split);
    fflush(stdout);
}

void eval_table_positions(const struct eval_result *r, int bins)
{
    int count = bins_of(r->sums->seq, bins), first, last;
    for (int i = 0; i < count; i++) {
        char place[32];
        find_bin(r->sums->seq, bins, i, &first, &last);
        struct evaluate_sum s = evaluate_sum(r->sums, first, last);
        if (!s.tokens)
            continue;
        snprintf(place, sizeof place, "%d-%d", first + 1, last);
        printf("%19s %14" PRIu64 " %9.4f %11.4f %9s %9.4f\n", place, s.tokens, s.loss, s.perplexity,
               "", s.accuracy);
    }
    fflush(stdout);
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* JSON has no NaN: null. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *eval_to_json(const struct eval_result *r, int bins)
{
    struct evaluate_sum s = sum_of(r);
    json_t *first = json_array(), *loss = json_array(), *accuracy = json_array(),
           *tokens = json_array();
    int count = bins_of(r->sums->seq, bins), from, to;
    for (int i = 0; i < count; i++) {
        find_bin(r->sums->seq, bins, i, &from, &to);
        struct evaluate_sum here = evaluate_sum(r->sums, from, to);
        json_array_append_new(first, json_integer(from + 1));
        json_array_append_new(loss, number(here.loss));
        json_array_append_new(accuracy, number(here.accuracy));
        json_array_append_new(tokens, json_integer((json_int_t)here.tokens));
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:i, s:b, s:I, s:o, s:o, s:o, s:o, s:I, s:{s:o, "
                     "s:o, s:o, s:o}}",
                     "checkpoint", r->checkpoint, "step", (json_int_t)r->step, "block", r->mixer,
                     "dataset", r->dataset, "split", r->split, "seq_length", r->sums->seq,
                     "reference", (int)r->reference, "tokens", (json_int_t)s.tokens, "loss",
                     number(s.loss), "perplexity", number(s.perplexity), "bits_per_byte",
                     number(s.bits_per_byte), "accuracy", number(s.accuracy), "bytes",
                     (json_int_t)r->sums->bytes, "by_position", "from", first, "loss", loss,
                     "accuracy", accuracy, "tokens", tokens);
}

/* ---- the picture -------------------------------------------------------------------------- */

/* A text within gnuplot's double quotes. */
static void put_quoted(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (strchr("\"\\", *text))
            putc('\\', to);
        putc(*text, to);
    }
}

static void put_curve(FILE *to, const json_t *result)
{
    const json_t *by = json_object_get(result, "by_position");
    const json_t *from = json_object_get(by, "from"), *loss = json_object_get(by, "loss");
    double seq = json_number_value(json_object_get(result, "seq_length"));
    for (size_t i = 0; i < json_array_size(from); i++) {
        double first = json_number_value(json_array_get(from, i));
        double next = i + 1 < json_array_size(from) ? json_number_value(json_array_get(from, i + 1))
                                                    : seq + 1;
        if (json_is_number(json_array_get(loss, i)))
            fprintf(to, "%.9g %.9g\n", (first + next - 1) / 2,
                    json_number_value(json_array_get(loss, i)));
    }
    fprintf(to, "e\n");
}

int eval_draw(const json_t *results, const char *path)
{
    char part[4096];
    size_t count = json_array_size(results);
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return fail("%s: the path is too long", path);
    FILE *to = popen("gnuplot >&2", "w");
    if (!to)
        return fail("%s: gnuplot cannot be run: %s", path, strerror(errno));
    fprintf(to, "set terminal pngcairo size 1000,640 font 'sans,12' noenhanced\nset output \"");
    put_quoted(to, part);
    fprintf(to, "\"\nset xlabel 'token in the window'; set ylabel 'loss, nats per token'\n"
                "set logscale x 2; set grid lc rgb '#dddddd'; set border 3; set tics nomirror\n"
                "set key top right\nplot ");
    for (size_t i = 0; i < count; i++) {
        const json_t *r = json_array_get(results, i);
        fprintf(to, "%s'-' with linespoints lw 2 pt 7 ps 0.6 title \"", i ? ", " : "");
        put_quoted(to, json_string_value(json_object_get(r, "checkpoint")));
        fprintf(to, ", ");
        put_quoted(to, json_string_value(json_object_get(r, "dataset")));
        fprintf(to, ", %lld\"", (long long)json_integer_value(json_object_get(r, "seq_length")));
    }
    fprintf(to, "\n");
    for (size_t i = 0; i < count; i++)
        put_curve(to, json_array_get(results, i));
    int status = pclose(to);
    if (status || rename(part, path)) {
        remove(part);
        return fail("%s: gnuplot could not draw it (Debian: gnuplot-nox)", path);
    }
    return 0;
}
