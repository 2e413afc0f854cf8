/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of random_ops share. A page is a base page, by its number in the file. */
#ifndef RANDOM_OPS_H
#define RANDOM_OPS_H

#include <time.h>

#include "../hgm_probe.h"

#define TABLE (PMD_PAGE / BASE_PAGE)
#define MAX_PAGES (2 * PUD_PAGE / BASE_PAGE)
#define MAX_STEPS 4096
#define SHRINK_SECONDS 20
#define SEQUENCE_SECONDS 30

/* Contents are checked in this many 2 MiB regions: the first and the last ones. */
#define REGIONS 4

/* ---- model.c: what must be seen, and the checks against it ------------- */

/* The file and its mappings. */
struct target {
	bool fine;	/* base pages of a split mapping; else whole huge pages, not split */
	size_t huge_count, pages;	/* of the file */
	int file, uffd;
	char *primary;	/* registered in minor and write-protect mode */
	char *alias;	/* not registered */
};

extern struct target target;

struct model {
	uint64_t value[MAX_PAGES];	/* first and last word of the page in the file */
	bool mapped[MAX_PAGES];		/* in the primary mapping */
	bool marked[MAX_PAGES];		/* write-protected there, or to be when it is mapped */
	bool cached[64];		/* huge pages that the file has */
	uint64_t next_value;
};

extern struct model model;

/* Pages of the smallest range that an operation works on. */
size_t granule(void);

/* Whether the contents of a page are checked. */
bool is_checked(size_t page);

/* Fails unless PAGE shows its contents in MAPPING; or COPY, which was made of it. WHAT names them. */
void check_value(const char *what, const char *mapping, size_t page);
void check_copied_value(const char *what, const char *copy, size_t page);

/* All pages and what smaps counts; or just the regions whose contents are checked. */
void check_all(void);
void check_regions(void);

/* Whole huge pages alone are write-protected: other ranges are widened to them. */
bool protects_huge_pages(void);

/* The promises that the model takes its rules from. */
#define RULES (PROMISE(WP_BASE_PAGES) | PROMISE(WP_ADDRESS) | PROMISE(CONTINUE_AROUND) | \
	       PROMISE(CONTINUE_WP) | PROMISE(COLLAPSE_INSIDE) | PROMISE(COLLAPSE_UNTOUCHED) | \
	       PROMISE(COLLAPSE_CLEARS_WP))

/* ---- operations.c: one operation on the kernel and on the model -------- */

/* The order must not change: a seed stands for the same operations in every version. */
enum kind {
	CONT, CONT_WP, WP, UNWP, READ, WRITE, ALIAS, COLLAPSE, VMREAD, FORK, READONLY,
	REMAP, SIDE, REREGISTER, DONTNEED, PUNCH, TRUNCATE, KINDS
};

struct op {
	enum kind kind;
	size_t page, count;
};

struct kind_info {
	const char *name;
	unsigned int weight;	/* how often it is chosen */
	bool fine_only;		/* not done with whole huge pages */
	void (*run)(const struct op *op);
};

extern const struct kind_info kinds[KINDS];

/* Splits the primary mapping, if the target is fine, and registers it. */
void register_primary(void);

/* ---- sequence.c: sequences made from a seed, and as text ---------------- */

struct sequence {
	size_t count;
	struct op ops[MAX_STEPS];
};

void make_sequence(struct sequence *sequence, uint64_t seed, size_t steps);

/* "cont 3 5; wp 0 512; write 4"; a count that is left out is one. Fails if TEXT is wrong. */
void parse_sequence(struct sequence *sequence, const char *text);

void print_op(const struct op *op, char *text, size_t room);
void print_sequence(const struct sequence *sequence);

/* ---- run.c: a sequence in a process and a mapping of its own ------------ */

/* Whether each operation is written to the kernel's log before it is done. */
extern bool is_traced;

/* Makes the file. Once, before any sequence runs. */
void make_target(void);

/* Whether the kernel agrees with the model. What a failing sequence prints is seen if LOUD. */
bool passes(const struct sequence *sequence, bool loud);

/* The operation that was running when the last sequence ended. */
size_t last_step(void);

/* ---- shrink.c: the shortest sequence that still fails ------------------- */

/* Seconds of the monotonic clock. */
time_t now(void);

/* Prints a short sequence that fails like this one, and fails the test. */
_Noreturn void report_failure(struct sequence *failing, uint64_t seed);

#endif
