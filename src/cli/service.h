// SPDX-License-Identifier: Apache-2.0
/* A word to the service manager, for whom a program started with Type=notify is up when it says so. Nothing
 * happens without one (NOTIFY_SOCKET, as in sd_notify(3)). */
#ifndef PC_CLI_SERVICE_H
#define PC_CLI_SERVICE_H

/** It answers; or it does again, after pc_service_reloading. */
void pc_service_ready(void);
/** It takes in what changed, and goes on answering. */
void pc_service_reloading(void);
/** It finishes what is under way, and ends. */
void pc_service_stopping(void);

#endif
