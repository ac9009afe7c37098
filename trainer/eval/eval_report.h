/* eval_report.h -- what ttt-eval has found: a table, JSON, a picture. */
#ifndef EVAL_REPORT_H
#define EVAL_REPORT_H

#include "evaluate.h"

/* One evaluation. Texts are borrowed. */
struct eval_result {
    const char *checkpoint, *dataset, *split;
    const char *mixer;
    int64_t step;
    const struct evaluate *sums;
    bool reference; /* whole windows in the reference's way */
};

/* The table's head, a line of it, and the lines by position below it, on stdout; places in so many
   bins, or with 0 every place its own. */
void eval_table_head(void);
void eval_table_line(const struct eval_result *r);
void eval_table_positions(const struct eval_result *r, int bins);

/* The result as one object, with its bins; the caller's reference. */
json_t *eval_to_json(const struct eval_result *r, int bins);

/* Draw loss by position, a curve for each of results (as eval_to_json made them), as PNG at path,
   by gnuplot. -1 with why(). */
must_check int eval_draw(const json_t *results, const char *path);

#endif
