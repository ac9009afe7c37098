/* pydict.h -- a Python call dict(key=value, ...) as a JSON object. */
#ifndef PYDICT_H
#define PYDICT_H

#include <jansson.h>

/* Values are integers, floats, 'strings' or "strings" (backslash escapes the next character),
   True, False and None. Returns the caller's reference, or NULL with why() naming the column; a
   key given twice is an error, as it is in Python. */
json_t *pydict_parse(const char *text);

#endif
