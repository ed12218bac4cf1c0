// SPDX-License-Identifier: Apache-2.0
/* libpaco: recover, run and check LLaMA-family models published as weight diffs.
 *
 * This header holds the version; the others stand alone:
 *   error.h    what every function reports
 *   weights.h  jobs on whole checkpoints: recover, diff, merge, convert
 */
#ifndef PACO_PACO_H
#define PACO_PACO_H

#define PACO_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library in use, "MAJOR.MINOR.PATCH". Static storage, thread-safe. */
const char *paco_version(void);

#ifdef __cplusplus
}
#endif
#endif
