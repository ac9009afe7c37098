/* chart.c -- the four TTT statistics of a layer as a picture, without any program's help. */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LEFT = 56, RIGHT = 12, TOP = 22, BOTTOM = 28, CURVES = 4 };

struct picture {
    uint8_t rgb[CHART_HEIGHT][CHART_WIDTH][3];
};

struct colour {
    uint8_t r, g, b;
};

static const struct colour BLACK = {40, 40, 40}, GRID = {221, 221, 221};
static const struct colour colours[CURVES] = {{120, 120, 120},
                                              {59, 110, 165},
                                              {192, 79, 21},
                                              {60, 140, 60}};
static const char *const names[CURVES] = {"variance", "L(W0)", "L(Wt-b)", "L(Wt)"};

/* ---- letters ------------------------------------------------------------------------------ */

/* Seven rows of five dots from above, a row in a character: '@' and the dots as five bits. */
static const struct glyph {
    char letter;
    char rows[8];
} glyphs[] = {
    {'0', "NQSUYQN"}, {'1', "DLDDDDN"}, {'2', "NQABDH_"}, {'3', "_BDBAQN"},  {'4', "BFJR_BB"},
    {'5', "_P^AAQN"}, {'6', "FHP^QQN"}, {'7', "_ABDHHH"}, {'8', "NQQNQQN"},  {'9', "NQQOABL"},
    {'.', "@@@@@LL"}, {'-', "@@@_@@@"}, {'+', "@DD_DD@"}, {',', "@@@@LDH"},  {'(', "BDHHHDB"},
    {')', "HDBBBDH"}, {'L', "PPPPPP_"}, {'W', "QQQUUUJ"}, {'a', "@@NAOQO"},  {'b', "PPVYQQ^"},
    {'c', "@@NPPQN"}, {'e', "@@NQ_PN"}, {'i', "D@LDDDN"}, {'l', "LDDDDDN"},  {'n', "@@VYQQQ"},
    {'p', "@@^Q^PP"}, {'r', "@@VYPPP"}, {'s', "@@NPNA^"}, {'t', "HH\\HHIF"}, {'v', "@@QQQJD"},
    {'y', "@@QQOAN"},
};

static void dot(struct picture *p, int x, int y, struct colour c)
{
    if (x < 0 || x >= CHART_WIDTH || y < 0 || y >= CHART_HEIGHT)
        return;
    p->rgb[y][x][0] = c.r;
    p->rgb[y][x][1] = c.g;
    p->rgb[y][x][2] = c.b;
}

enum { ADVANCE = 6 };

static void write_text(struct picture *p, int x, int y, const char *text, struct colour c)
{
    for (; *text; text++, x += ADVANCE)
        for (size_t g = 0; g < sizeof glyphs / sizeof *glyphs; g++)
            for (int row = 0; glyphs[g].letter == *text && row < 7; row++)
                for (int bit = 0; bit < 5; bit++)
                    if (glyphs[g].rows[row] >> (4 - bit) & 1)
                        dot(p, x + bit, y + row, c);
}

static int text_width(const char *text)
{
    return ADVANCE * (int)strlen(text);
}

/* ---- lines -------------------------------------------------------------------------------- */

static void line(struct picture *p, double x0, double y0, double x1, double y1, struct colour c)
{
    double far = fmax(fabs(x1 - x0), fabs(y1 - y0));
    int steps = (int)(far * 2) + 1;
    for (int i = 0; i <= steps; i++) {
        int x = (int)lround(x0 + (x1 - x0) * i / steps),
            y = (int)lround(y0 + (y1 - y0) * i / steps);
        dot(p, x, y, c);
        dot(p, x, y + 1, c);
    }
}

/* A step of 1, 2 or 5 tens that cuts a range into about four. */
static double tick(double range)
{
    double ten = pow(10, floor(log10(range / 4))), times = range / 4 / ten;
    return ten * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

struct scale {
    double low, high; /* of y */
    double most;      /* of x, from 0 */
};

static double x_of(const struct scale *s, double x)
{
    return LEFT + x / s->most * (CHART_WIDTH - LEFT - RIGHT);
}

static double y_of(const struct scale *s, double y)
{
    return CHART_HEIGHT - BOTTOM -
           (y - s->low) / (s->high - s->low) * (CHART_HEIGHT - TOP - BOTTOM);
}

static struct scale scale_of(const float *curves, int points, int mini_batch)
{
    struct scale s = {INFINITY, -INFINITY, (double)mini_batch * points};
    for (int i = 0; i < CURVES * points; i++) {
        if (!isfinite(curves[i]))
            continue;
        s.low = fmin(s.low, (double)curves[i]);
        s.high = fmax(s.high, (double)curves[i]);
    }
    if (!(s.low <= s.high))
        s.low = s.high = 0;
    double room = fmax((s.high - s.low) * 0.05, fabs(s.high) * 1e-3 + 1e-9);
    s.low -= room;
    s.high += room;
    return s;
}

static void draw_axes(struct picture *p, const struct scale *s)
{
    char text[32];
    double every = tick(s->high - s->low);
    for (double y = ceil(s->low / every) * every; y <= s->high; y += every) {
        int at = (int)y_of(s, y);
        snprintf(text, sizeof text, "%.3g", fabs(y) < every / 1e6 ? 0 : y);
        for (int x = LEFT; x < CHART_WIDTH - RIGHT; x++)
            dot(p, x, at, GRID);
        write_text(p, LEFT - 6 - text_width(text), at - 3, text, BLACK);
    }
    every = tick(s->most);
    for (double x = every; x <= s->most; x += every) {
        int at = (int)x_of(s, x);
        snprintf(text, sizeof text, "%.0f", x);
        for (int y = TOP; y < CHART_HEIGHT - BOTTOM; y++)
            dot(p, at, y, GRID);
        write_text(p, at - text_width(text) / 2, CHART_HEIGHT - BOTTOM + 8, text, BLACK);
    }
    line(p, LEFT, TOP, LEFT, CHART_HEIGHT - BOTTOM, BLACK);
    line(p, LEFT, CHART_HEIGHT - BOTTOM, CHART_WIDTH - RIGHT, CHART_HEIGHT - BOTTOM, BLACK);
}

static void draw_curves(struct picture *p, const struct scale *s, const float *curves, int points,
                        int mini_batch)
{
    for (int c = 0; c < CURVES; c++) {
        const float *y = curves + (size_t)c * (size_t)points;
        for (int i = 0; i < points; i++) {
            int before = i && isfinite(y[i - 1]) ? i - 1 : i;
            if (isfinite(y[i]))
                line(p, x_of(s, (double)mini_batch * (before + 1)), y_of(s, (double)y[before]),
                     x_of(s, (double)mini_batch * (i + 1)), y_of(s, (double)y[i]), colours[c]);
        }
    }
}

/* ---- PNG ---------------------------------------------------------------------------------- */

static uint8_t *put_big(uint8_t *to, uint32_t value)
{
    for (int i = 3; i >= 0; i--)
        *to++ = (uint8_t)(value >> 8 * i);
    return to;
}

static uint8_t *put_chunk(uint8_t *to, const char *kind, const void *data, size_t bytes)
{
    to = put_big(to, (uint32_t)bytes);
    memcpy(to, kind, 4);
    memcpy(to + 4, data, bytes);
    return put_big(to + 4 + bytes, (uint32_t)crc32(0, to, (uInt)(4 + bytes)));
}

static uint8_t *encode(const struct picture *p, size_t *bytes)
{
    enum { ROW = 1 + 3 * CHART_WIDTH, CHUNKS = 128 };
    uint8_t head[13] = {0}, *rows = malloc((size_t)ROW * CHART_HEIGHT);
    uLongf packed = compressBound((uLong)ROW * CHART_HEIGHT);
    uint8_t *pack = malloc(packed), *png = malloc(packed + CHUNKS);
    if (rows && pack && png) {
        for (int y = 0; y < CHART_HEIGHT; y++) {
            rows[y * ROW] = 0; /* no filter */
            memcpy(rows + y * ROW + 1, p->rgb[y], 3 * CHART_WIDTH);
        }
        compress2(pack, &packed, rows, (uLong)ROW * CHART_HEIGHT, 9);
        put_big(put_big(head, CHART_WIDTH), CHART_HEIGHT);
        head[8] = 8; /* bits a channel */
        head[9] = 2; /* RGB */
        memcpy(png, "\x89PNG\r\n\x1a\n", 8);
        uint8_t *end = put_chunk(png + 8, "IHDR", head, sizeof head);
        end = put_chunk(end, "IDAT", pack, packed);
        end = put_chunk(end, "IEND", "", 0);
        *bytes = (size_t)(end - png);
    } else {
        (void)fail("out of memory for a picture");
        free(png);
        png = NULL;
    }
    free(rows);
    free(pack);
    return png;
}

uint8_t *chart_draw(const float *curves, int points, int mini_batch, const char *title,
                    size_t *bytes)
{
    struct picture *p = malloc(sizeof *p);
    if (!p) {
        (void)fail("out of memory for a picture");
        return NULL;
    }
    memset(p, 255, sizeof *p);
    struct scale s = scale_of(curves, points, mini_batch);
    draw_axes(p, &s);
    draw_curves(p, &s, curves, points, mini_batch);
    write_text(p, LEFT, 8, title, BLACK);
    int x = CHART_WIDTH - RIGHT;
    for (int c = CURVES - 1; c >= 0; c--) {
        x -= text_width(names[c]) + 10;
        write_text(p, x, 8, names[c], colours[c]);
    }
    uint8_t *png = encode(p, bytes);
    free(p);
    return png;
}
