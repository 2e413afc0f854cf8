/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every C probe stands on: KTAP output, huge-page mappings, userfaultfd,
 * and what the kernel says about itself in /proc and /sys.
 *
 * A probe is a table of tests. Each test runs in a child process of its own:
 * whatever it maps, registers or holds is gone when it ends, however it ends,
 * and one that waits too long is killed. A test that returns has passed; it
 * ends early through probe_fail(), probe_skip() or assert_that().
 *
 * Helpers named after an action (map_shared(), uffd_open(), split()) fail the
 * test when the kernel refuses; those that return a result or an error number
 * leave the judgement to the caller. Sizes are bytes, "page" is a base page of
 * 4 KiB, "huge page" is one of the size that --size chose.
 */
#ifndef HGM_PROBE_H
#define HGM_PROBE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <linux/userfaultfd.h>

#define BASE_PAGE 4096UL
#define PMD_PAGE (2UL << 20)
#define PUD_PAGE (1UL << 30)

/* Milliseconds that one event, such as a fault message, may take. */
#define EVENT_MS 5000

/* For UAPI headers that do not know them; the numbers are the kernel's. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_SPLIT
#define MADV_SPLIT 26
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS (1 << 11)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- ktap.c: tests and their results ---------------------------------- */

struct probe_test {
	const char *name;
	void (*run)(void);
};

struct probe {
	const struct probe_test *tests;
	size_t count;
	/* The tests are skipped, with the kernel's errno, where MADV_SPLIT is not known. */
	bool needs_hgm;
	/* Runs once, before the tests, in the process that they are forked from. */
	void (*setup)(void);
	/* Milliseconds that a test may take before it is killed; 0 for the usual 30 s. */
	int test_ms;
};

/* Bytes of one huge page, from --size; and pages in it. */
size_t huge_size(void);
size_t huge_pages(void);

/* The value of another option, such as "--backing"; NULL if it was not given. */
const char *probe_option(int argc, char **argv, const char *name);

/* Runs the tests; returns the exit code: 0 passed, 1 failed, 4 all skipped. */
int probe_main(int argc, char **argv, const struct probe *probe);

/* Diagnostic lines, one each, without a newline at the end. */
void probe_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void probe_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void probe_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * RUN in a process of its own, forked from the test, that fails and skips as a
 * test does. child_end() fails the test unless it passed, within CHILD_MS.
 */
#define CHILD_MS 25000
pid_t child_start(void (*run)(void));
void child_end(pid_t child);

/* "EINVAL" for EINVAL, "ok" for 0. */
const char *error_name(int error);

#define assert_that(condition, format, ...)                                          \
	do {                                                                    \
		if (!(condition))                                               \
			probe_fail("%s:%d: %s: " format, __FILE_NAME__,         \
				   __LINE__, #condition, ##__VA_ARGS__);        \
	} while (0)

/* The call's error number must be WANT; 0 means that it must succeed. */
#define assert_error(call, want)                                                \
	do {                                                                    \
		int got_ = (call), want_ = (want);                              \
		if (got_ != want_)                                              \
			probe_fail("%s:%d: %s: got %s, expected %s",            \
				   __FILE_NAME__, __LINE__, #call,              \
				   error_name(got_), error_name(want_));        \
	} while (0)

/* ---- memory.c: files, mappings, contents ------------------------------ */

/* Files of COUNT huge pages, none of them allocated yet. */
int huge_memfd(size_t count);
int huge_memfd_of(size_t size, size_t count); /* -errno if the kernel refuses */
int hugetlbfs_file(size_t count);

/*
 * An unnamed file in a mount that is attached nowhere: both end with the
 * descriptor. PAGESIZE is hugetlbfs's option; NULL for other file systems.
 */
int detached_file(const char *filesystem, const char *pagesize);

/*
 * A shared mapping of LENGTH bytes of FD, from huge page FIRST on in map_part().
 * RESERVED takes its huge pages from the pool now.
 */
enum reserve { RESERVED, UNRESERVED };
char *map_shared(int fd, size_t length, enum reserve reserve);
char *map_part(int fd, size_t first, size_t length, enum reserve reserve);
char *map_anonymous(size_t length, int extra_flags);
char *map_private_huge(enum reserve reserve); /* one huge page */
void unmap(void *start, size_t length);

/* Frees COUNT huge pages of the file. */
void punch(int fd, size_t first, size_t count);

/* The signal that an access, or ACT, gets: SIGBUS, SIGSEGV, or 0 for none. */
int signal_of(void (*act)(void *), void *argument);
enum touch_kind { TOUCH_READ, TOUCH_WRITE };
int access_signal(void *address, enum touch_kind kind);

/*
 * Page N of a huge page carries a stamp made of N in its first and last eight
 * bytes, so that a page that shows up in the wrong place is recognised. SEED
 * tells one filling from the next. check_pages() fails the test and names the
 * first wrong page and what it shows; check_zero() wants never written pages.
 */
void fill_pages(char *huge, size_t first, size_t count, unsigned int seed);
void check_pages(const char *huge, size_t first, size_t count, unsigned int seed);
void check_zero(const char *huge, size_t first, size_t count);

/* The same for memory that starts with page FIRST, such as a buffer that pages were read into. */
void fill_copy(char *copy, size_t first, size_t count, unsigned int seed);
void check_copy(const char *copy, size_t first, size_t count, unsigned int seed);

/* A memfd of one or COUNT huge pages, every STRIDE-th page of it filled with SEED. */
int filled_memfd(size_t stride, unsigned int seed);
int filled_memfd_of(size_t count, size_t stride, unsigned int seed);

/* ---- hgm.c: the interface under test ---------------------------------- */

/* madvise() and its error number. */
int advise(void *start, size_t length, int advice);

/* The error number of ADVICE on a shared mapping of huge pages of SIZE; nothing is allocated. */
int advice_error(size_t size, int advice);

/* 0 if MADV_SPLIT is accepted for any huge page size, else its error number. */
int hgm_error(void);

void split(void *start, size_t length);
void collapse(void *start, size_t length);

/* ---- uffd.c: userfaultfd ---------------------------------------------- */

struct uffd_result {
	int error;	/* 0 or an error number */
	int64_t done;	/* bytes; the kernel's word in the ioctl's last field */
};

struct uffd_fault {
	char *address;
	uint64_t flags; /* UFFD_PAGEFAULT_FLAG_* */
};

/* The features that the kernel offers; skips the test if there is no userfaultfd. */
uint64_t uffd_offered(void);

/* A non-blocking userfaultfd with FEATURES; skips the test if one is not offered. */
int uffd_open(uint64_t features);

/* Error number of a registration; IOCTLS, if not NULL, takes the offered ones. */
int uffd_try_register(int uffd, void *start, size_t length, uint64_t mode, uint64_t *ioctls);
void uffd_register(int uffd, void *start, size_t length, uint64_t mode);

int uffd_unregister(int uffd, void *start, size_t length);

struct uffd_result uffd_continue(int uffd, void *start, size_t length);
struct uffd_result uffd_continue_mode(int uffd, void *start, size_t length, uint64_t mode);
struct uffd_result uffd_copy(int uffd, void *to, const void *from, size_t length);
int uffd_protect(int uffd, void *start, size_t length, bool on);
int uffd_wake(int uffd, void *start, size_t length);

/*
 * A fresh mapping of FD's first huge page, split, and registered in minor mode
 * and MODES with a userfaultfd that has FEATURES; UFFD takes its descriptor.
 */
char *map_split(int fd, uint64_t features, uint64_t modes, int *uffd);

/* The same of COUNT huge pages from FIRST on. */
char *map_split_part(int fd, size_t first, size_t count, uint64_t features, uint64_t modes,
		     int *uffd);

/* Fails the test unless the continue gave ERROR and DONE. */
#define assert_continue(uffd, start, length, want_error, want_done)             \
	do {                                                                    \
		struct uffd_result result_ = uffd_continue(uffd, start, length); \
		assert_that(result_.error == (want_error) &&                         \
		       result_.done == (int64_t)(want_done),                    \
		       "got %s, mapped %lld", error_name(result_.error),        \
		       (long long)result_.done);                                \
	} while (0)

/* The next fault message; fails the test if none comes in EVENT_MS. */
struct uffd_fault uffd_next_fault(int uffd);

/* Fails the test unless the next fault has this address and these flags. */
void assert_fault(int uffd, const char *address, uint64_t flags);

/* The next message, which must be of this event; fails the test if none comes in EVENT_MS. */
struct uffd_msg uffd_next_event(int uffd, unsigned int event);

/* Fails the test if a fault message waits. */
void assert_no_fault(int uffd);

/*
 * A thread that reads or writes eight bytes, and may be held by a fault
 * meanwhile. touch_end() returns what it read; fails after EVENT_MS.
 */
struct touch {
	pthread_t thread;
	volatile uint64_t *address;
	enum touch_kind kind;
	uint64_t value;
	int done;	/* eventfd */
};

void touch_start(struct touch *touch, void *address, enum touch_kind kind);
bool touch_is_held(const struct touch *touch);
uint64_t touch_end(struct touch *touch);

/*
 * A thread that answers each minor fault with a continue of GRANULE bytes
 * around its address, and keeps the addresses in the order they came.
 */
#define SERVER_FAULTS 1024

struct server {
	pthread_t thread;
	int uffd;
	size_t granule;
	int stop;	/* eventfd */
	size_t count;	/* of faults; only the first SERVER_FAULTS are kept */
	char *faults[SERVER_FAULTS];
	int error;	/* of the first continue that failed */
};

void server_start(struct server *server, int uffd, size_t granule);
void server_end(struct server *server);

/* ---- proc.c: what the kernel says about itself ------------------------ */

/* A field of the mapping in /proc/self/smaps, in bytes; -1 if there is no such field. */
int64_t smaps_bytes(const void *address, const char *field);
bool smaps_has_flag(const void *address, const char *letters);


/* Fails the test unless smaps shows the mapping with just these bytes by entries of each size. */
#define assert_mapped(start, by_pud, by_pmd, by_pte) \
	check_mapped(__LINE__, start, by_pud, by_pmd, by_pte)
void check_mapped(int line, const void *start, size_t by_pud, size_t by_pmd, size_t by_pte);

/* All of the mapping, of LENGTH bytes, is mapped by entries of the huge page's own size. */
#define assert_whole(start, length) \
	assert_mapped(start, huge_size() == PUD_PAGE ? (length) : 0, \
		      huge_size() == PUD_PAGE ? 0 : (length), 0)

/* A field of /proc/self/status or /proc/meminfo, in bytes; -1 if there is no such field. */
int64_t status_bytes(const char *field);
int64_t meminfo_bytes(const char *field);

/* nr_, free_, resv_ or surplus_hugepages of the chosen size. */
long pool_counter(const char *name);

struct pool {
	long total, free, reserved, surplus;
};

struct pool pool_now(void);

/* Fails the test unless the pool has changed by FREE and RESERVED, and not otherwise, since. */
void assert_pool(const struct pool *before, long free, long reserved, const char *when);

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_UFFD_WP (1ULL << 57)
#define PAGEMAP_EXCLUSIVE (1ULL << 56)
#define PAGEMAP_FRAME ((1ULL << 55) - 1)

/* COUNT entries of /proc/self/pagemap, into ENTRIES. */
void pagemap_read(const void *start, size_t count, uint64_t *entries);
uint64_t pagemap_entry(const void *address);

/*
 * Bytes that smaps says are mapped by entries of a level, and in all, in the
 * hugetlb mappings that make up a range. -1 where the kernel has no such field,
 * or where a mapping is not all in the range.
 */
struct smaps_mapped {
	int64_t pud, pmd, pte, all;
};

struct smaps_mapped smaps_mapped(const void *start, size_t length);

/* How many of COUNT pages the kernel calls present, by /proc/self/pagemap and by mincore(). */
size_t pagemap_present(const void *start, size_t count);
size_t mincore_present(void *start, size_t count);

/* Whether a page, and how many of COUNT, carry userfaultfd's write-protect mark, by pagemap. */
bool pagemap_protected(const void *address);
size_t pagemap_protected_count(const void *start, size_t count);

/* ---- checkpoint.c: page tables, seen from outside the kernel ----------- */

/*
 * Stops here until the host has walked the page tables of a range and compared
 * them with smaps, with pagemap, and with WANT: what the test believes them to
 * hold, such as "pmd:1,pte:%zu" for entries of a level, "present:%zu" or "wp:%zu"
 * for base pages; "%s", "" for nothing. A disagreement fails the probe. Without
 * a host that listens (--checkpoints host) it says so and goes on; a host that
 * listens and does not answer fails the test.
 */
#define checkpoint(start, length, ...)                                          \
	checkpoint_of(start, length, huge_size(), __VA_ARGS__)

/* The same for huge pages of PAGE bytes; BASE_PAGE for ordinary memory. */
void checkpoint_of(const char *start, size_t length, size_t page, const char *want, ...)
	__attribute__((format(printf, 4, 5)));

/* Who answers, from --checkpoints; and the test that is running. probe_main() calls both. */
void checkpoints_listen(const char *who);
void checkpoints_of(const char *test);

#endif
