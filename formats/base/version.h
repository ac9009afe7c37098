/* version.h -- which version this program is. */
#ifndef VERSION_H
#define VERSION_H

/* What `git describe` said when it was made, or "unknown". Static. */
const char *version_text(void);

#endif
