/* chart.h -- the four TTT statistics of a layer as a picture, without any program's help. */
#ifndef CHART_H
#define CHART_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

enum { CHART_WIDTH = 480, CHART_HEIGHT = 320 };

/* A PNG, the caller's to free, and its length: four curves [4][points] over x = mini_batch * (i +
   1), with axes, their numbers, and what each curve is. title: of the letters of "layer step", of
   digits, commas and blanks; others are left blank. Numbers that are not finite are gaps. NULL with
   why(). */
uint8_t *chart_draw(const float *curves, int points, int mini_batch, const char *title,
                    size_t *bytes);

#endif
