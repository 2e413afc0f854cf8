/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the library share and probes do not see. */
#ifndef HGM_PROBE_LIBRARY_H
#define HGM_PROBE_LIBRARY_H

/* The library's own calls leave the place alone that a test called it from. */
#define HGM_PROBE_LIBRARY
#include "../hgm_probe.h"

/* A line of a test, which failures name. */
struct site {
	const char *file;
	int line;
};

struct site probe_site(void);

/* ---- options.c ---- */

#define MAX_GLOBS 16
#define MAX_TIMEOUT_SCALE 30

struct options {
	size_t size;		/* bytes, 0 where --size was not given */
	double timeout_scale;	/* at least 1 */
	const char *checkpoints;
	const char *globs[MAX_GLOBS];	/* of -t */
	size_t glob_count;
	bool help, list, may_harm;
};

/* Ends the program with code 2 and a line on stderr if an option is wrong. */
struct options parse_options(int argc, char **argv, const struct probe *probe);
void print_help(const struct probe *probe);
bool is_selected(const struct options *options, const char *test);

/* ---- sizes.c: the huge pages that this kernel has ---- */

/* Of /sys/kernel/mm/hugepages; LONG_MIN if the kernel has no such size or counter. */
long size_counter(size_t size, const char *name);

/* Bytes of "2M", "1G", "64K"; 0 if that is not a size. */
size_t parse_size(const char *text);

/* The huge page that the kernel takes by default. */
size_t default_size(void);

/* ---- promises.c ---- */

struct promise_answer {
	/* Not asked, or not possible here; the kernel's answer; or none, by a wait or a crash. */
	enum { ANSWER_UNKNOWN, ANSWER_OFFERED, ANSWER_NOT_OFFERED, ANSWER_BROKEN } state;
	char word[64];	/* such as "EINVAL" */
};

const char *promise_name(enum promise promise);

/*
 * Asks the kernel about some promises, takes a huge page of the pool meanwhile,
 * and prints a line for each. offers() answers from ANSWERS, which child processes
 * must share.
 */
void promises_ask(uint32_t promises, struct promise_answer answers[PROMISE_COUNT]);

/* ---- checkpoint.c ---- */

/* Who answers, from --checkpoints; and the test that is running. */
void checkpoints_listen(const char *who);
void checkpoints_of(const char *test);

#endif
