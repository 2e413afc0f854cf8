/* SPDX-License-Identifier: GPL-2.0-only */
/* The model of one mapping that was split. A page is a base page, by its number in the file. */
#ifndef RANDOM_OPS_BASE_H
#define RANDOM_OPS_BASE_H

#include "random_ops.h"

#define TABLE (PMD_PAGE / BASE_PAGE)
#define MAX_PAGES (2 * PUD_PAGE / BASE_PAGE)

/* Contents are checked in this many 2 MiB regions: the first and the last ones. */
#define REGIONS 4

/* The file and its mappings. */
struct target {
	size_t huge_count, pages;	/* of the file */
	int file, uffd;
	char *primary;	/* split, and registered in minor and write-protect mode */
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

/* The promises that both models take their rules from. */
#define RULES (PROMISE(WP_BASE_PAGES) | PROMISE(WP_ADDRESS) | PROMISE(CONTINUE_AROUND) | \
	       PROMISE(CONTINUE_WP) | PROMISE(COLLAPSE_INSIDE) | PROMISE(COLLAPSE_UNTOUCHED) | \
	       PROMISE(COLLAPSE_CLEARS_WP))

/* In the order of base_kinds. */
enum base_kind {
	CONT, CONT_WP, WP, UNWP, READ, WRITE, ALIAS, COLLAPSE, VMREAD, FORK, READONLY,
	REMAP, SIDE, REREGISTER, DONTNEED, PUNCH, TRUNCATE, BASE_KINDS
};

extern const struct kind_info base_kinds[BASE_KINDS];

/* Splits the primary mapping and registers it. */
void register_primary(void);

#endif
