/* version.c -- which version this program is. The one file that is compiled again at every commit.
 */
#include "version.h"

const char *version_text(void)
{
    return TTT_VERSION;
}
