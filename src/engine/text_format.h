// SPDX-License-Identifier: Apache-2.0
/* The formats of strings that an answer can be held to, as patterns: those of OpenAI's structured outputs. */
#ifndef PC_ENGINE_TEXT_FORMAT_H
#define PC_ENGINE_TEXT_FORMAT_H

/** The pattern (engine/pattern.h) of date-time, date, time, duration, email, hostname, ipv4, ipv6 or uuid;
 * NULL for others, which say nothing about the form. Days exist: February has 29 of them in leap years alone.
 */
const char *pc_text_format_pattern(const char *name);

#endif
