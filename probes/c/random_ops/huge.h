/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model of several processes, each with PLACES huge pages of address space at one
 * address, in which parts of two files and private memory are mapped. All of it follows
 * from what Documentation/admin-guide/mm/hugetlbpage.rst, Documentation/mm/hugetlbfs_reserv.rst and
 * Documentation/admin-guide/mm/userfaultfd.rst say; where kernels differ the kernel was asked (struct rules).
 */
#ifndef RANDOM_OPS_HUGE_H
#define RANDOM_OPS_HUGE_H

#include "random_ops.h"

#define PROCESSES 3
#define PLACES 8
#define FILE_PAGES 4
#define AVAILABLE 16	/* huge pages of the pool that a sequence can have; the others are reserved */
#define MINIMUM 2	/* min_size of the mount, in huge pages */
#define FOLIOS 64

/* The last is memory without a file: it can only be mapped private. */
enum file { MEMFD, MOUNTED, ANON, FILES };

#define NONE (-1)

/* A mode of ours: registered with the userfaultfd that has UFFD_FEATURE_WP_ASYNC. */
#define MODE_ASYNC (1 << 8)

/* A huge page that is in use. */
struct folio {
	bool used, cached, anon;
	bool restores;	/* its reservation comes back when it is freed */
	int file;	/* whose mount it is charged to */
	size_t mapped;	/* in so many places */
	uint64_t value;	/* first and last word */
};

/* A huge page of address space. */
struct place {
	bool is_mapped, shared, reserves;
	bool owner;	/* private, with a reservation of its own */
	bool consumed;	/* that was used */
	int file, prot;
	size_t offset;
	unsigned int modes;	/* registered for UFFDIO_REGISTER_MODE_* */
	int folio;	/* what its page table entry maps, or NONE */
	bool marked;	/* write-protected, or to be when something is mapped */
};

struct process {
	bool lives;
	struct place places[PLACES];
};

struct machine {
	struct pool pool;
	long base_total;	/* pages of the pool at the start */
	long subpool;	/* reserved huge pages that the mount has left of its minimum */
	int cache[FILES][FILE_PAGES];
	bool reserved[FILES][FILE_PAGES];	/* in the file's reservation map */
	struct folio folios[FOLIOS];
	struct process processes[PROCESSES];
	uint64_t next_value;
	bool unsure;	/* the last change was one that the model does not know the result of */
};

/* In memory that all processes share. */
extern struct machine *machine;

/* What kernels differ in, as this one answered. */
struct rules {
	bool restores;	/* MADV_DONTNEED of a private page gives its reservation back to the mapping */
	bool shows_marks;	/* pagemap shows protection where nothing is mapped */
	bool fork_copies_marks;	/* known issue uffd-wp-inherited-by-fork */
	bool unsharing_keeps_marks;	/* known, not asked: the model would agree with a kernel that breaks it */
	bool protects_mappings;	/* UFFDIO_WRITEPROTECT takes a range of several mappings */
	int copy_error;	/* of UFFDIO_COPY where the pool is exhausted */
	bool scans, async;	/* PAGEMAP_SCAN, UFFD_FEATURE_WP_ASYNC */
	bool continues_protected;	/* UFFDIO_CONTINUE_MODE_WP */
	bool resizes;	/* nr_hugepages can be written */
};

extern struct rules rules;

/* ---- huge_model.c: what operations do to the machine --------------------- */

struct folio *folio_of(const struct place *place);

/* The page of its file, or NULL. */
struct folio *cached_of(const struct place *place);

/* A huge page for a place, or for a shared mapping of a file; NULL if there is none. */
struct folio *allocate(struct place *place, bool cow_from_owner);
struct folio *allocate_in_file(int file, size_t offset);

void map_folio(struct place *place, struct folio *folio);

/* Removes what places map; settle() then frees what nothing maps. */
void clear_place(struct place *place, bool keep_mark);
void settle(void);

/* The mapping ends; after settle(). */
void end_mapping(struct place *place);

/* The reservation of a new mapping of COUNT places: an error number. */
int reserve_mapping(struct place *places, size_t count);

/* Pages of a file go: by a hole, which leaves marks and reservations of what was not there; or truncated. */
void remove_pages(int file, size_t from, size_t end, bool truncated);
void unreserve_page(int file, size_t offset);

/* The first write to a private page that others have, or the file; false if there is no page for a copy. */
bool copy_on_write(struct place *place);

/* An access; returns the messages that it causes, and whether it ends in SIGBUS. */
struct outcome {
	bool minor, missing, protected, sigbus;
};

struct outcome access_place(struct place *place, bool write);

/* nr_hugepages becomes TOTAL. */
void resize_pool(long total);

/* ---- huge_operations.c ---------------------------------------------------- */

enum huge_kind {
	MAP, UNMAP, LOAD, STORE, FORKS, EXITS, DISCARD, MPROTECT, MOVE, ALLOCATE, HOLE,
	SHORTEN, REGISTER, UNREGISTER, PROTECT, UNPROTECT, COPY, CONTINUE, SCAN_PROTECT,
	PEEK, RESIZE, HUGE_KINDS
};

extern const struct kind_info huge_kinds[HUGE_KINDS];

/* Process number of this one, its address space, and the files. */
struct self {
	size_t number;
	size_t page;	/* that the operation was done to */
	char *arena, *source;	/* SOURCE is for UFFDIO_COPY */
	int files[FILES];
	int uffds[2];
};

extern struct self self;

char *address_in(size_t place);

/* ---- huge_processes.c ----------------------------------------------------- */

/* Asks the kernel for the rules. */
void ask_rules(void);

/* A userfaultfd of this process: the one that sends messages, or the asynchronous one. */
int uffd_of(unsigned int modes);

/* A child of this process becomes process NUMBER; returns in the parent. */
void start_process(size_t number);

/* The PID of a process. */
pid_t pid_of(size_t number);

#endif
