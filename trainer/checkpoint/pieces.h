/* pieces.h -- families of parameter-shaped arrays in one file a rank, to and from any mesh.

   A tensor PREFIX + the parameter's name + "@" + N, of one axis, holds floats from place N on of a
   part of the parameter; which part, as "m/M", the file's note "part" tells: of M equal ones along
   the axis that mp divides (params.h), of parameters that it does not divide the whole. A file
   of whole parameters, without "@", is read as well. */
#ifndef PIECES_H
#define PIECES_H

#include "arrays.h"

/* Write what this rank keeps for all: of what it holds an equal share with the ranks along dp. */
must_check int pieces_save(const char *path, const struct params *p,
                           const struct arrays_family *family, int families, struct xxh3 *digest);

/* Fill what this rank holds from all the files of a checkpoint together. Every tensor must be one
   of the families', fp32, and no float may be missing or told twice. digest [files]: what files
   have to hash to; ranks share this work out. */
must_check int pieces_load(const char *const *path, const struct xxh3 *digest, int files,
                           const struct params *p, const struct arrays_family *family,
                           int families);

#endif
