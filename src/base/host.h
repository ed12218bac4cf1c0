// SPDX-License-Identifier: Apache-2.0
/* What this machine has left to give, and its clock. */
#ifndef PC_BASE_HOST_H
#define PC_BASE_HOST_H

#include <stdint.h>

/** Bytes this process could come to hold without pushing anything out: what the kernel calls available, and
 * no more than its control groups still allow. UINT64_MAX when nothing says. Caches count as available. */
uint64_t pc_host_memory_available(void);

/** Bytes the machine has, or this process's control groups allow it if that is less. UINT64_MAX when nothing
 * says. */
uint64_t pc_host_memory_limit(void);

/** Seconds on a clock that only goes forward. */
double pc_seconds(void);
/** Sleep a millisecond: between two looks at what others may have sent. */
void pc_doze(void);
/** Processor seconds that all threads of this process have used: what work costs however busy the machine is.
 */
double pc_cpu_seconds(void);

/** Bytes this process holds now, mapped files' pages among them; 0 when the system does not say. */
uint64_t pc_host_memory_resident(void);

#endif
