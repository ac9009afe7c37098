/* flags.c -- parse flags, print help and write config files from one table. */
#include "flags.h"
#include "report.h"
#include "version.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ------------------------------------------------------------------------------- */

static int parse_on(bool *to, const char *name, const char *text)
{
    static const char *const yes[] = {"true", "True", "1", "on"};
    static const char *const no[] = {"false", "False", "0", "off"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *to = !strcmp(text, yes[i]);
            return 0;
        }
    }
    return fail("--%s=%s: expected true or false", name, text);
}

static int parse_int(int64_t *to, const char *name, const char *text)
{
    char digits[32];
    size_t n = 0;
    for (const char *p = text; *p; p++)
        if (*p != '_' && n < sizeof digits - 1)
            digits[n++] = *p;
    digits[n] = 0;
    char *end;
    errno = 0;
    long long v = strtoll(digits, &end, 10);
    if (errno || end == digits || *end || strchr(" \t\n", *text))
        return fail("--%s=%s: expected a whole number", name, text);
    *to = v;
    return 0;
}

static int parse_size(int64_t *to, const char *name, const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double v = strtod(text, &end), unit = 1;
    const char *u = *end ? strchr(units, *end & ~32) : NULL;
    if (u) {
        for (const char *step = units; step <= u; step++)
            unit *= 1024;
        end++;
    }
    bool tail = *end && !(u && (!strcmp(end, "B") || !strcmp(end, "iB")));
    if (errno || end == text || tail || !(v >= 0) || !(v * unit < 9e18) || strchr("+ \t", *text))
        return fail("--%s=%s: expected a size such as 4096, 64M or 1.5G", name, text);
    *to = (int64_t)(v * unit);
    return 0;
}

static int parse_number(double *to, const char *name, const char *text)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    bool overflow = errno == ERANGE && fabs(v) > 1;
    if (overflow || end == text || *end || !isfinite(v) || strchr(" \t\n", *text))
        return fail("--%s=%s: expected a number", name, text);
    *to = v;
    return 0;
}

static int parse_choice(const char **to, const struct flag *f, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = f->operand; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (n && !strncmp(p, text, n) && (p[n] == '|' || !p[n])) {
            *to = text;
            return 0;
        }
    return fail("--%s=%s: expected one of %s", f->name, text, f->operand);
}

static int append(struct flag_list *list, const char *text)
{
    const char **items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items)
        return fail("out of memory");
    list->items = items;
    list->items[list->count++] = text;
    return 0;
}

int flag_set(struct flag *f, const char *text)
{
    int status = 0;
    switch (f->kind) {
    case FLAG_END:
    case FLAG_GROUP:
        status = fail("no such flag");
        break;
    case FLAG_ON:
        status = parse_on(f->value, f->name, text);
        break;
    case FLAG_INT:
        status = parse_int(f->value, f->name, text);
        break;
    case FLAG_SIZE:
        status = parse_size(f->value, f->name, text);
        break;
    case FLAG_NUMBER:
        status = parse_number(f->value, f->name, text);
        break;
    case FLAG_TEXT:
        *(const char **)f->value = text;
        break;
    case FLAG_CHOICE:
        status = parse_choice(f->value, f, text);
        break;
    case FLAG_LIST:
        status = append(f->value, text);
        break;
    }
    if (!status)
        f->given = true;
    return status;
}

char *flag_text(const struct flag *f, char *buf, size_t bytes)
{
    const char *text = NULL;
    switch (f->kind) {
    case FLAG_ON:
        text = *(bool *)f->value ? "true" : "false";
        break;
    case FLAG_TEXT:
    case FLAG_CHOICE:
        text = *(const char **)f->value;
        break;
    case FLAG_INT:
    case FLAG_SIZE:
        snprintf(buf, bytes, "%" PRId64, *(int64_t *)f->value);
        return buf;
    case FLAG_NUMBER:
        for (int digits = 6; digits <= 17; digits++) { /* the shortest that reads back the same */
            snprintf(buf, bytes, "%.*g", digits, *(double *)f->value);
            if (strtod(buf, NULL) == *(double *)f->value)
                break;
        }
        return buf;
    default:
        break;
    }
    snprintf(buf, bytes, "%s", text ? text : "");
    return buf;
}

/* ---- names -------------------------------------------------------------------------------- */

/* Edits between two words: insert, delete, replace, each 1. Words of up to 63 bytes. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(b), row[64];
    if (n > 63 || strlen(a) > 63)
        return 64;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i]; i++) {
        int corner = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int up = row[j + 1], best = corner + (a[i] != b[j]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            corner = up;
            row[j + 1] = best;
        }
    }
    return row[n];
}

const char *nearest(const char *wrong, const char *const *names, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(wrong) / 3 + 2;
    for (int i = 0; i < count; i++) {
        const char *tail = strrchr(names[i], '.'); /* "lr" is near "optimizer.adamw_optimizer.lr" */
        int d = distance(wrong, names[i]);
        if (tail && !strcmp(wrong, tail + 1))
            d = 1;
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

/* Dashes and underscores within a name are one, whichever a program's own names have. */
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b)))
            return false;
    return *a == *b;
}

struct flag *flag_find(const struct program *p, const char *name)
{
    for (struct flag *f = p->flags; f->kind; f++)
        if (f->kind != FLAG_GROUP && same_name(f->name, name))
            return f;
    return NULL;
}

_Noreturn static void unknown(const struct program *p, const char *arg, const char *name)
{
    const char *names[256];
    int count = 0;
    for (struct flag *f = p->flags; f->kind && count < 256; f++)
        if (f->kind != FLAG_GROUP)
            names[count++] = f->name;
    const char *near = nearest(name, names, count);
    if (near)
        misuse("%s: no such flag; did you mean --%s?", arg, near);
    misuse("%s: no such flag", arg);
}

/* ---- help --------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 30 };

static void help_flag(const struct flag *f)
{
    char head[160], value[256];
    int n = f->letter ? snprintf(head, sizeof head, "  -%c, --%s", f->letter, f->name)
                      : snprintf(head, sizeof head, "  --%s", f->name);
    if (f->kind != FLAG_ON && f->operand)
        snprintf(head + n, sizeof head - (size_t)n, "=%s", f->operand);
    printf("%s", head);
    if (strlen(head) + 2 > HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    else
        printf("%*s", HELP_COLUMN - (int)strlen(head), "");
    for (const char *c = f->help; *c; c++) {
        putchar(*c);
        if (*c == '\n')
            printf("%*s", HELP_COLUMN, "");
    }
    bool silent = !*f->help || f->kind == FLAG_LIST || (f->kind == FLAG_ON && !*(bool *)f->value);
    if (!silent && *flag_text(f, value, sizeof value))
        printf(" [%s]", value);
    putchar('\n');
}

_Noreturn static void help(const struct program *p)
{
    printf("usage: %s [flags]%s%s\n\n%s\n", p->name, p->operands ? " " : "",
           p->operands ? p->operands : "", p->purpose);
    if (p->flags->kind != FLAG_GROUP)
        printf("\nflags:\n");
    for (const struct flag *f = p->flags; f->kind; f++) {
        if (f->kind == FLAG_GROUP)
            printf("\n%s:\n", f->name);
        else
            help_flag(f);
    }
    printf("  --help                      print this and leave\n"
           "  --version                   print the version and leave\n");
    if (p->examples)
        printf("\nexamples:\n%s", p->examples);
    exit(finish(0));
}

void misuse(const char *fmt, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    warn("%s (%s --help lists every flag)", sentence, program);
    exit(2);
}

/* ---- parsing ------------------------------------------------------------------------------ */

static void set_or_leave(struct flag *f, const char *text)
{
    if (flag_set(f, text))
        misuse("%s", why());
}

/* One "--..." argument; returns how many of argv it used. */
static int parse_long(const struct program *p, char **argv)
{
    const char *arg = argv[0] + 2, *equals = strchr(arg, '=');
    char name[160];
    int n = equals ? (int)(equals - arg) : (int)strlen(arg);
    snprintf(name, sizeof name, "%.*s", n, arg);
    if (!strcmp(name, "help"))
        help(p);
    if (!strcmp(name, "version")) {
        printf("%s %s (%s build)\n", p->name, version_text(), TTT_BUILD);
        if (p->builds)
            printf("%s\n", p->builds());
        exit(finish(0));
    }
    struct flag *f = flag_find(p, name);
    if (!f && !equals && !strncmp(name, "no-", 3)) {
        f = flag_find(p, name + 3);
        if (f && f->kind == FLAG_ON) {
            set_or_leave(f, "false");
            return 1;
        }
        f = NULL;
    }
    if (!f)
        unknown(p, argv[0], name);
    if (equals) {
        set_or_leave(f, equals + 1);
        return 1;
    }
    if (f->kind == FLAG_ON) {
        set_or_leave(f, "true");
        return 1;
    }
    if (!argv[1])
        misuse("--%s: needs a value, --%s=%s", f->name, f->name, f->operand ? f->operand : "VALUE");
    set_or_leave(f, argv[1]);
    return 2;
}

/* One "-abc" argument; returns how many of argv it used. */
static int parse_letters(const struct program *p, char **argv)
{
    for (const char *c = argv[0] + 1; *c; c++) {
        struct flag *f = p->flags;
        while (f->kind && (f->kind == FLAG_GROUP || f->letter != *c))
            f++;
        if (!f->kind)
            unknown(p, argv[0], argv[0] + 1);
        if (f->kind == FLAG_ON) {
            set_or_leave(f, "true");
            continue;
        }
        const char *rest = c[1] == '=' ? c + 2 : c + 1;
        if (*rest) {
            set_or_leave(f, rest);
            return 1;
        }
        if (!argv[1])
            misuse("-%c: needs a value, -%c %s", *c, *c, f->operand ? f->operand : "VALUE");
        set_or_leave(f, argv[1]);
        return 2;
    }
    return 1;
}

char **flags_parse(int argc, char **argv, const struct program *p, int *operand_count)
{
    program = p->name;
    int operands = 0;
    for (int i = 1; i < argc;) {
        char *arg = argv[i];
        if (!strcmp(arg, "--")) {
            for (i++; i < argc; i++)
                argv[operands++] = argv[i];
        } else if (arg[0] == '-' && arg[1] == '-') {
            i += parse_long(p, argv + i);
        } else if (arg[0] == '-' && arg[1]) {
            i += parse_letters(p, argv + i);
        } else {
            argv[operands++] = arg;
            i++;
        }
    }
    argv[operands] = NULL;
    if (!p->operands && operands)
        misuse("%s: takes no operands", argv[0]);
    if (operand_count)
        *operand_count = operands;
    return argv;
}

/* A value's own line ends are followed by a blank: such a line goes on the one before. */
static void write_line(const char *name, const char *text, FILE *to)
{
    fprintf(to, "--%s=", name);
    for (; *text; text++) {
        putc(*text, to);
        if (*text == '\n')
            putc(' ', to);
    }
    putc('\n', to);
}

void flags_write(const struct program *p, FILE *to)
{
    char value[4096];
    for (const struct flag *f = p->flags; f->kind; f++) {
        if (f->kind == FLAG_GROUP)
            continue;
        const struct flag_list *list = f->value;
        for (int i = 0; f->kind == FLAG_LIST && i < list->count; i++)
            write_line(f->name, list->items[i], to);
        if (f->kind != FLAG_LIST)
            write_line(f->name, flag_text(f, value, sizeof value), to);
    }
}
