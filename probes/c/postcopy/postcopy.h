/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of postcopy share. */
#ifndef POSTCOPY_H
#define POSTCOPY_H

#include "../hgm_probe.h"

/* ---- afterwards.c: reads of memory that is resident --------------------- */

/*
 * Times reads of base pages of WORKLOAD_BYTES of two mappings of the same memory, in turns, and
 * prints the passes of ONE. No read may fault.
 */
void time_reads(const char *name, char *one, char *other);
/* Prints the passes of all OTHERs until now. */
void report_reads_of_other(const char *name);

/* ---- residence.c: what has arrived, and when ---------------------------- */

/* From now on, until at most COUNT times more bytes have been mapped. */
void residence_start(size_t count);
void residence_add(size_t bytes);
void residence_report(void);

#endif
