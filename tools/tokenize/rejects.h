/* rejects.h -- the list of records that were left out or mended, one JSON object a line.

   {"file":NAME,"line":L,"offset":B,"record":R,"action":"skipped"|"replaced","reason":TEXT}
   L, or null where the lines before were not counted, and B are the place of the fault, R the
   offset of the first byte of its record; bytes count from 0 in the decompressed stream. Bytes of
   NAME that are not UTF-8 show as U+FFFD. */
#ifndef REJECTS_H
#define REJECTS_H

#include "file.h"
#include "jsonl.h"

/* One line into an open writer. */
must_check int rejects_put(struct writer *w, const char *file, const struct jsonl_fault *fault,
                           bool uncounted, bool skipped);

#endif
