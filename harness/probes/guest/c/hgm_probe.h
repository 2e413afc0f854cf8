/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every C probe stands on: KTAP output, huge-page mappings, userfaultfd,
 * and what the kernel says about itself in /proc and /sys.
 *
 * A probe is a table of tests. Each test runs in a child process of its own:
 * whatever it maps, registers or holds is gone when it ends, however it ends,
 * and one that waits too long is killed. A test that returns has passed; it
 * ends early through probe_fail(), probe_skip() or expect().
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
#include <linux/userfaultfd.h>

#define BASE_PAGE 4096UL
#define PMD_PAGE (2UL << 20)
#define PUD_PAGE (1UL << 30)

/* Milliseconds that one event, such as a fault message, may take. */
#define EVENT_MS 5000

/* For UAPI headers that do not know them; the numbers are the kernel's. */
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

/* "EINVAL" for EINVAL, "ok" for 0. */
const char *error_name(int error);

#define expect(condition, format, ...)                                          \
	do {                                                                    \
		if (!(condition))                                               \
			probe_fail("%s:%d: %s: " format, __FILE_NAME__,         \
				   __LINE__, #condition, ##__VA_ARGS__);        \
	} while (0)

/* The call's error number must be WANT; 0 means that it must succeed. */
#define expect_error(call, want)                                                \
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

/* A shared mapping of LENGTH bytes of FD. RESERVED takes its huge pages from the pool now. */
enum reserve { RESERVED, UNRESERVED };
char *map_shared(int fd, size_t length, enum reserve reserve);
char *map_anonymous(size_t length, int extra_flags);
void unmap(void *start, size_t length);

/*
 * Page N of a huge page carries a stamp made of N in its first and last eight
 * bytes, so that a page that shows up in the wrong place is recognised. SEED
 * tells one filling from the next. check_pages() fails the test and names the
 * first wrong page and what it shows; check_zero() wants never written pages.
 */
void fill_pages(char *huge, size_t first, size_t count, unsigned int seed);
void check_pages(const char *huge, size_t first, size_t count, unsigned int seed);
void check_zero(const char *huge, size_t first, size_t count);

/* A memfd of one huge page, every STRIDE-th page of it filled with SEED. */
int filled_memfd(size_t stride, unsigned int seed);

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

struct uffd_result uffd_continue(int uffd, void *start, size_t length);
struct uffd_result uffd_copy(int uffd, void *to, const void *from, size_t length);
int uffd_protect(int uffd, void *start, size_t length, bool on);
int uffd_wake(int uffd, void *start, size_t length);

/*
 * A fresh mapping of FD's first huge page, split, and registered in minor mode
 * and MODES with a userfaultfd that has FEATURES; UFFD takes its descriptor.
 */
char *map_split(int fd, uint64_t features, uint64_t modes, int *uffd);

/* Fails the test unless the continue gave ERROR and DONE. */
#define expect_continue(uffd, start, length, want_error, want_done)             \
	do {                                                                    \
		struct uffd_result result_ = uffd_continue(uffd, start, length); \
		expect(result_.error == (want_error) &&                         \
		       result_.done == (int64_t)(want_done),                    \
		       "got %s, mapped %lld", error_name(result_.error),        \
		       (long long)result_.done);                                \
	} while (0)

/* The next fault message; fails the test if none comes in EVENT_MS. */
struct uffd_fault uffd_next_fault(int uffd);

/* Fails the test unless the next fault has this address and these flags. */
void expect_fault(int uffd, const char *address, uint64_t flags);

/* Fails the test if a fault message waits. */
void expect_no_fault(int uffd);

/*
 * A thread that reads or writes eight bytes, and may be held by a fault
 * meanwhile. touch_end() returns what it read; fails after EVENT_MS.
 */
enum touch_kind { TOUCH_READ, TOUCH_WRITE };

struct touch {
	pthread_t thread;
	volatile uint64_t *address;
	enum touch_kind kind;
	uint64_t value;
	int done;	/* eventfd */
};

void touch_start(struct touch *touch, void *address, enum touch_kind kind);
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

/* nr_, free_, resv_ or surplus_hugepages of the chosen size. */
long pool_counter(const char *name);

/* How many of COUNT pages the kernel calls present, by /proc/self/pagemap and by mincore(). */
size_t pagemap_present(const void *start, size_t count);
size_t mincore_present(void *start, size_t count);

/* Whether a page carries userfaultfd's write-protect mark, by /proc/self/pagemap. */
bool pagemap_protected(const void *address);

#endif
