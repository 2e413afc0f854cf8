/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of stress share. A page is a base page, by its number in the file. */
#ifndef STRESS_H
#define STRESS_H

#include "../hgm_probe.h"

/* The hugetlb file that all processes map. */
extern int fd;

/* Of the process: its userfaultfd, its split mapping, and one that is not registered. */
extern int uffd;
extern char *primary, *alias;

/* Huge pages of the file, and its bytes. */
size_t file_pages(void);
size_t length(void);

bool time_is_over(void);

/* ---- access.c: random places, and accesses that may get a signal -------- */

/* Of the thread; each thread sets its own. */
extern __thread unsigned int seed;

size_t random_below(size_t count);
bool one_in(size_t count);
char *random_huge(char *mapping);

/* Mostly out of a few pages, so that threads collide. */
size_t random_page(void);

/* Bytes from PAGE on, within the file: often a page, at times a whole table or all. */
size_t random_length(size_t page);

/* By how much operations on whole huge pages are rarer than others. */
size_t rarer(void);

/* Skips an access of the calling thread that gets SIGBUS or SIGSEGV. */
void guard_accesses(void);

/* Fails unless the page shows zeroes or its own stamp. */
void check_page(const char *mapping, size_t page);
void write_page(char *mapping, size_t page);

/* ---- actions.c: what the threads do ------------------------------------- */

struct action {
	void (*run)(void);
	const char *name;
	size_t weight;
	bool is_whole; /* works on whole huge pages */
};

#define ACTIONS 16
extern const struct action actions[ACTIONS];

/* ---- process.c: one process: its threads, and its fault handler ---------- */

/* Maps the file, runs the threads until the time is over, prints a line, and exits. */
_Noreturn void run_process(void);

#endif
