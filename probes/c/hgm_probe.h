/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The library of the C probes: KTAP output, huge-page mappings, userfaultfd,
 * and the files of /proc and /sys.
 *
 * A probe is a table of tests. Each test runs in a child process of its own:
 * its mappings, registrations and descriptors end with it, and one that waits
 * too long is killed. A test that returns has passed; it ends early through
 * probe_fail(), probe_skip() or an assertion.
 *
 * Helpers named after an action (map_shared(), uffd_open(), split()) fail the
 * test when the kernel refuses; those that return a result or an error number
 * leave it to the caller to check it. A failure names the line of the test that
 * called the library last, the call, the expected result, and the actual one.
 * Sizes are in bytes, "page" is a base page, "huge page" is one of the size that
 * --size chose.
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

/*
 * A page table is one base page of 8-byte entries; all that depends on the size
 * of a base page is here. x86-64 has 4 KiB; arm64 can have 64 KiB, for which a
 * probe is compiled with -DBASE_PAGE=65536UL. probe_main() skips the tests if
 * sysconf(_SC_PAGESIZE) is another size. Which sizes of huge pages there are,
 * and which is the default, is read from the kernel.
 */
#ifndef BASE_PAGE
#define BASE_PAGE 4096UL
#endif
#define TABLE_ENTRIES (BASE_PAGE / sizeof(uint64_t))
#define PMD_PAGE (TABLE_ENTRIES * BASE_PAGE)
#define PUD_PAGE (TABLE_ENTRIES * PMD_PAGE)

/* Milliseconds to wait for one event, such as a fault message; times --timeout-scale. */
#define EVENT_MS 5000

/* For older UAPI headers, which lack them. */
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
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif

#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#define _UFFDIO_POISON 0x08
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#define _UFFDIO_MOVE 0x05
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)
#endif
#ifndef UFFDIO_RWPROTECT
#define UFFD_FEATURE_RWP (1 << 17)
#define UFFD_FEATURE_RWP_ASYNC (1 << 18)
#define UFFD_PAGEFAULT_FLAG_RWP (1 << 3)
#define UFFDIO_REGISTER_MODE_RWP ((__u64)1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP ((__u64)1 << 0)
#define UFFDIO_RWPROTECT_MODE_DONTWAKE ((__u64)1 << 1)
#define _UFFDIO_RWPROTECT 0x09
#define _UFFDIO_SET_MODE 0x0A
struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};
struct uffdio_set_mode {
	__u64 enable, disable;
};
#define UFFDIO_RWPROTECT _IOWR(UFFDIO, _UFFDIO_RWPROTECT, struct uffdio_rwprotect)
#define UFFDIO_SET_MODE _IOW(UFFDIO, _UFFDIO_SET_MODE, struct uffdio_set_mode)
#endif

/* For compilers before GCC 12. */
#ifndef __FILE_NAME__
#define __FILE_NAME__ __FILE__
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- ktap.c: tests and their results ---------------------------------- */

struct probe_test {
	const char *name;
	void (*run)(void);
	/* PROMISE()s, or'ed: where one of them is not offered, the test is skipped. */
	uint32_t rests_on;
};

/* An option of one probe, for -h. */
struct probe_argument {
	const char *name, *value, *help;
};

struct probe {
	const struct probe_test *tests;
	size_t count;
	/*
	 * Free huge pages that the tests need at once, and how many of them if they are
	 * smaller than PUD_PAGE; 0 for the same number.
	 */
	size_t pages, pages_small;
	/* Skip the tests, with the kernel's errno, if MADV_SPLIT is refused for every size. */
	bool needs_hgm;
	/* The tests assume base pages of 4 KiB, and are skipped where those are larger. */
	bool needs_4k_pages;
	/* PROMISE()s that the tests ask offers() about, besides those that they rest on. */
	uint32_t asks;
	/* Its own options, each of which takes a value; ends with an empty one. */
	const struct probe_argument *arguments;
	/* Runs once, before the tests, in the process that they are forked from. */
	void (*setup)(void);
	/*
	 * Milliseconds that a test may take before it is killed, times --timeout-scale;
	 * 0 for the usual 25 s.
	 */
	int test_ms;
};

/*
 * Bytes of one huge page, from --size: without that option the kernel's default
 * size, or the largest of which enough pages are free. And pages in it.
 */
size_t huge_size(void);
size_t huge_pages(void);

/* The value of an option of the probe's own, such as "--backing"; NULL if it was not given. */
const char *probe_option(int argc, char **argv, const char *name);
/* The same as a number from 1 to MOST, USUAL if it was not given; ends the program with code 2. */
size_t probe_number(int argc, char **argv, const char *name, size_t usual, size_t most);

/*
 * Does what -h, -l and -t ask, or runs the tests. Returns kselftest's exit code:
 * 0 passed, 1 failed, 2 wrong options, 4 all skipped.
 */
int probe_main(int argc, char **argv, const struct probe *probe);

/* Diagnostic lines, one each, without a newline at the end. */
void probe_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void probe_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on failures of this process begin with this text, such as the case; "" for nothing. */
void probe_about(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void probe_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Skips the test, or in setup() all of them, unless --yes-harm-this-machine was
 * given. HOW says what it does to the machine, such as "poisons memory".
 */
void probe_harms(const char *how);

/*
 * RUN in a process of its own, forked from the test, that fails and skips as a
 * test does. child_end() ends the test as the child ended unless that passed, within
 * CHILD_MS times --timeout-scale.
 */
#define CHILD_MS 20000
pid_t child_start(void (*run)(void));
void child_end(pid_t child);

/* RUN in such a process, and UNDO after it, whether it fails the test or not. */
void run_then(void (*run)(void), void (*undo)(void));

/* CLOCK_MONOTONIC in ns. */
int64_t now_ns(void);

/* A limit in milliseconds on this machine: times --timeout-scale. */
int scaled_ms(int milliseconds);

/* ---- assert.c: what a failure says ------------------------------------ */

/* "EINVAL" for EINVAL, "success" for 0. */
const char *error_name(int error);

/* "1 GiB + 12 KiB"; and the same, but "2 huge pages" if LENGTH is a multiple of one. */
const char *size_text(int64_t bytes);
const char *range_text(size_t length);

/* "2M", as --size takes it. */
const char *size_name(size_t bytes);

/* The sizes of huge pages that this kernel has, in bytes, the largest first; returns how many. */
#define MAX_SIZES 8
size_t offered_sizes(size_t sizes[MAX_SIZES]);

/*
 * Whether one entry maps a huge page of SIZE. arm64 has others, such as 64 KiB and
 * 32 MiB, which sets of contiguous entries map.
 */
bool is_one_entry(size_t size);

/* The place that failures of this thread name from now on; the macros below set it. */
void probe_at(const char *file, int line);

/*
 * The text is all that is printed: say what was expected and what came, as in
 * "UFFDIO_WAKE of the page before woke the reader".
 */
#define assert_that(condition, ...)                                             \
	do {                                                                    \
		if (!(condition))                                               \
			probe_fail(__VA_ARGS__);                                \
	} while (0)

/*
 * The call's error number must be WANT; 0 means that it must succeed. Helpers
 * that return one have named the call, by probe_asked("MADV_SPLIT", length);
 * for other calls the function's name is printed.
 */
#define assert_error(call, want) (probe_asked(NULL, 0), check_error(#call, call, want))
void probe_asked(const char *what, size_t length);
void check_error(const char *call, int got, int want);

/* The same for a call that sets errno and returns -1, or MAP_FAILED, where it fails. */
#define assert_errno(call, want)                                                \
	(probe_asked(NULL, 0), check_error(#call, (intptr_t)(call) == -1 ? errno : 0, want))

/* A call such as read() must transfer all of LENGTH bytes. */
#define assert_bytes(call, length) check_bytes(#call, call, length)
void check_bytes(const char *call, ssize_t got, size_t length);

/* ---- memory.c: files, mappings, contents ------------------------------ */

/* Files of COUNT huge pages, none of them allocated yet. */
int huge_memfd(size_t count);
int huge_memfd_of(size_t size, size_t count); /* -errno if the kernel refuses */
int hugetlbfs_file(size_t count);

/* An unnamed file in a mount that is attached nowhere: both end with the descriptor. */
int detached_file(const char *filesystem);

/*
 * Such a mount, which ends with its descriptor and its files; OPTIONS as mount(8)
 * takes them. try_mount() returns -errno where the kernel refuses them.
 */
int detached_mount(const char *filesystem, const char *options, ...)
	__attribute__((format(printf, 2, 3)));
int try_mount(const char *filesystem, const char *options);
int unnamed_file(int mount);

/*
 * A shared mapping of LENGTH bytes of FD, from huge page FIRST on in map_part().
 * RESERVED takes its huge pages from the pool now.
 */
enum reserve { RESERVED, UNRESERVED };
char *map_shared(int fd, size_t length, enum reserve reserve);
char *map_part(int fd, size_t first, size_t length, enum reserve reserve);
char *map_anonymous(size_t length, int extra_flags);
char *map_private_huge(enum reserve reserve); /* one huge page */
char *map_private_huges(size_t count, enum reserve reserve);

/*
 * LENGTH bytes of address space at a multiple of ALIGNMENT, in which nothing can be
 * accessed; and a mapping of part of it, from the start of the file.
 */
char *reserve_area(size_t length, size_t alignment);
char *map_at(char *start, size_t length, int flags, int fd);

/* Anonymous memory with MADV_HUGEPAGE, of which nothing is mapped yet; skips without such pages. */
char *map_thp(size_t length);
void unmap(void *start, size_t length);

/*
 * Writes a function that returns 42, of FUNCTION bytes. Skips on an architecture whose
 * machine code is not known.
 */
#define FUNCTION 8
void put_function(char *at);

/*
 * Memory of one kind: --memory hugetlb, shmem, anonymous or thp. UNIT is what the
 * kernel maps by one entry: a huge page, a base page, or a transparent huge page.
 */
enum memory_kind { HUGETLB, SHMEM, ANONYMOUS, TRANSPARENT };
#define MEMORY_ARGUMENT { "--memory", "hugetlb|shmem|anonymous|thp", "the memory's kind" }

/* The kind that --memory names; ends the program with code 2 if it names none. */
enum memory_kind memory_kind(int argc, char **argv);
size_t memory_unit(enum memory_kind kind);

/* A file of COUNT units for the shared kinds, none of them allocated; -1 for the others. */
int memory_file(enum memory_kind kind, size_t count);

/*
 * COUNT units of memory, of the file for the shared kinds. Where the kernel gives no
 * transparent huge page the test is skipped. memory_fill() fills the first base
 * page of each unit, as page 0 of filling SEED, so that all of them are mapped.
 */
char *memory_map(enum memory_kind kind, int fd, size_t count);
void memory_fill(enum memory_kind kind, char *start, size_t count, unsigned int seed);

/* Frees COUNT huge pages of the file. */
void punch(int fd, size_t first, size_t count);

/*
 * Marks a frame as broken by hwpoison-inject, and returns an error number; skips the
 * test where the kernel has no such file.
 */
int poison_frame(uint64_t frame);

/* The signal that ACT gets: SIGBUS, SIGSEGV, or 0 for none. */
int signal_of(void (*act)(void *), void *argument);
enum touch_kind { TOUCH_READ, TOUCH_WRITE };

/* Fails the test unless the access gets the signal WANT; 0 for none. */
void assert_signal(void *address, enum touch_kind kind, int want);

/*
 * Page N of a huge page has a stamp, derived from N, in its first and last eight
 * bytes, so that a page in the wrong place is recognised. SEED
 * distinguishes fillings. check_pages() fails the test and names the first wrong
 * page and its contents; check_zero() expects pages that were never written.
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

/* ---- promises.c: where implementations of the interface differ --------- */

/* probes/promises.toml says what each of them means. */
enum promise {
	PROMISE_SPLIT,
	PROMISE_CONTIGUOUS_REFUSED,
	PROMISE_CONTINUE_BASE_PAGES,
	PROMISE_CONTINUE_AROUND,
	PROMISE_CONTINUE_WP,
	PROMISE_MINOR_ADDRESS,
	PROMISE_MISSING_ADDRESS,
	PROMISE_WP_ADDRESS,
	PROMISE_WP_BASE_PAGES,
	PROMISE_RWP_BASE_PAGES,
	PROMISE_COLLAPSE,
	PROMISE_COLLAPSE_INSIDE,
	PROMISE_COLLAPSE_UNTOUCHED,
	PROMISE_COLLAPSE_CLEARS_WP,
	PROMISE_DONTNEED_FREES_TABLES,
	PROMISE_COUNT
};

#define PROMISE(name) (1U << PROMISE_##name)

/*
 * Whether the kernel under test was found to keep a promise, by asking it before
 * the tests. Only of promises that the probe asks or that one of its tests rests on.
 */
bool offers(enum promise promise);

/* Bytes that UFFDIO_WRITEPROTECT takes on a split mapping: a base page, or a huge page. */
size_t wp_unit(void);

/* The address that a message of a missing or write-protect fault carries for ADDRESS. */
char *missing_address(char *address);
char *wp_address(char *address);

/* ---- uffd.c: userfaultfd ---------------------------------------------- */

struct uffd_result {
	int error;	/* 0 or an error number */
	int64_t done;	/* bytes; what the kernel wrote into the ioctl's last field */
	const char *what; /* "UFFDIO_CONTINUE", and of how many bytes */
	size_t length;
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
struct uffd_result uffd_copy_mode(int uffd, void *to, const void *from, size_t length,
				  uint64_t mode);
struct uffd_result uffd_zeropage(int uffd, void *start, size_t length);
int uffd_protect(int uffd, void *start, size_t length, bool on);
int uffd_wake(int uffd, void *start, size_t length);

/* UFFDIO_RWPROTECT with a mode, UFFDIO_SET_MODE: error numbers. */
int uffd_rwprotect(int uffd, void *start, size_t length, uint64_t mode);
int uffd_set_mode(int uffd, uint64_t enable, uint64_t disable);

struct uffd_result uffd_poison(int uffd, void *start, size_t length);
struct uffd_result uffd_move(int uffd, void *to, void *from, size_t length, uint64_t mode);

/*
 * A fresh mapping of FD's first huge page, split, and registered in minor mode
 * and MODES with a userfaultfd that has FEATURES; UFFD takes its descriptor.
 */
char *map_split(int fd, uint64_t features, uint64_t modes, int *uffd);

/* The same of COUNT huge pages from FIRST on. */
char *map_split_part(int fd, size_t first, size_t count, uint64_t features, uint64_t modes,
		     int *uffd);

/* Fails the test unless the request gave ERROR and DONE: bytes, or -ERROR. */
void assert_result(struct uffd_result got, int error, int64_t done);
#define assert_continue(uffd, start, length, error, done)                       \
	assert_result(uffd_continue(uffd, start, length), error, done)

/* Whether there is a message, or one comes within EVENT_MS. */
bool uffd_is_readable(int uffd);

/* The next fault message; fails the test if none comes in EVENT_MS. */
struct uffd_fault uffd_next_fault(int uffd);

/* Fails the test unless the next fault has this address and these flags. */
void assert_fault(int uffd, const char *address, uint64_t flags);

/* The next message, which must be of this event; fails the test if none comes in EVENT_MS. */
struct uffd_msg uffd_next_event(int uffd, unsigned int event);

/* The event of CALL, which a thread makes: it returns when the event was read. */
struct uffd_msg uffd_event_of(int uffd, unsigned int event, void *(*call)(void *), void *argument);

/* Fails the test unless a REMOVE or UNMAP event has this range, or a REMAP event these places. */
void assert_event_range(const struct uffd_msg *message, const char *start, size_t length);
void assert_event_remap(const struct uffd_msg *message, const char *from, const char *to,
			size_t length);

/* Fails the test if there is a fault message. */
void assert_no_fault(int uffd);

/*
 * A thread that reads or writes eight bytes, and may be blocked in a fault
 * meanwhile. touch_end() returns what it read; fails after EVENT_MS.
 */
struct touch {
	pthread_t thread;
	volatile uint64_t *address;
	enum touch_kind kind;
	uint64_t value;
	volatile pid_t tid; /* 0 before it runs */
	int done;	/* eventfd */
};

void touch_start(struct touch *touch, void *address, enum touch_kind kind);

/* Whether the access is held up, once the thread has either gone to sleep or is done. */
bool touch_is_blocked(const struct touch *touch);
uint64_t touch_end(struct touch *touch);

/*
 * Fails the test unless an access to the base page at ADDRESS, which changes no stamp, is reported
 * as one to read-write protected memory and waits until the protection of LENGTH bytes from there
 * is lifted; it stays lifted.
 */
void assert_trapped(int uffd, char *address, size_t length, enum touch_kind kind);

/* Fails the test unless nothing stops such an access, and nothing is reported. */
void assert_untrapped(int uffd, char *address, enum touch_kind kind);

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
	const char *file; /* where server_start() was called */
	int line;
};

void server_start(struct server *server, int uffd, size_t granule);
void server_end(struct server *server);

/* ---- proc.c: /proc and /sys -------------------------------------------- */

/* A field of the mapping in /proc/self/smaps, in bytes; -1 if there is no such field. */
int64_t smaps_bytes(const void *address, const char *field);

/* Fails the test unless a field of the mapping in smaps has this many bytes. */
void assert_smaps(const void *address, const char *field, size_t bytes);

/* Fails the test unless the mapping's VmFlags in smaps have the letters, or lack them. */
void assert_flag(const void *address, const char *letters, bool want);

/* Fails the test unless smaps shows the mapping with just these bytes by entries of each size. */
void assert_mapped(const void *start, size_t by_pud, size_t by_pmd, size_t by_pte);

/* All of the mapping, of LENGTH bytes, is mapped by entries of the huge page's own size. */
void assert_whole(const void *start, size_t length);

/* The line of the mapping that begins at START in /proc/self/numa_maps. */
void numa_maps_line(const void *start, char *line, size_t room);

/*
 * A field of /proc/self/status, of /proc/meminfo after settle_page_tables(), or of
 * a file with such lines, in bytes; -1 if there is no such field or file.
 */
int64_t status_bytes(const char *field);
int64_t meminfo_bytes(const char *field);
int64_t file_bytes(const char *path, const char *field);

/* Writes TEXT to an existing file of /proc or /sys: returns an error number, or fails the test. */
int write_text(const char *path, const char *text);
void assert_written(const char *path, const char *text);

/*
 * Waits until PageTables counts no page table of a process that has ended, or of a
 * range that is unmapped. Without the right to, as another user than root, it does
 * what it can.
 */
void settle_page_tables(void);

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAP (1ULL << 62)
#define PAGEMAP_FILE (1ULL << 61)
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

/* How many of COUNT pages are present, by /proc/self/pagemap and by mincore(). */
size_t pagemap_present(const void *start, size_t count);
size_t mincore_present(void *start, size_t count);

/* Whether a page, and how many of COUNT, have userfaultfd's write-protect mark, by pagemap. */
bool pagemap_protected(const void *address);
size_t pagemap_protected_count(const void *start, size_t count);

/*
 * PAGEMAP_SCAN of the pages that are in a category, at most MAX_PAGES of them (0: all);
 * skips the test where the kernel has no such ioctl. With SCAN_WITHOUT_REGIONS, a flag of
 * ours, it is not asked for regions. The names of the UAPI (PAGE_IS_*, PM_SCAN_*) came with
 * 6.7, and older headers lack them.
 */
#define SCAN_WITHOUT_REGIONS (1ULL << 63)
#define SCAN_CAN_PROTECT (1 << 0)
#define SCAN_WRITTEN (1 << 1)
#define SCAN_FILE (1 << 2)
#define SCAN_PRESENT (1 << 3)
#define SCAN_SWAPPED (1 << 4)
#define SCAN_ZERO (1 << 5)
#define SCAN_HUGE (1 << 6)
#define SCAN_GUARD (1 << 8)
#define SCAN_ACCESSED (1 << 9)
#define SCAN_PROTECTS (1 << 0)
#define SCAN_CHECKS_ASYNC (1 << 1)

struct scan_region {
	uint64_t start, end, categories;
};

/*
 * The same with all masks: it scans for pages whose categories, after the bits of INVERTED
 * are flipped, include all of ALL_OF, and one of ANY_OF unless that is 0. Returns the number
 * of regions, or -errno.
 */
struct scan_masks {
	uint64_t inverted, all_of, any_of, returned;
};
struct scan_limits {
	uint64_t pages, regions; /* PAGES 0: all */
};
int scan_try(char *start, size_t length, uint64_t flags, struct scan_masks masks,
	     struct scan_limits limits, struct scan_region *regions, char **walk_end);

struct scan {
	int count;
	char *walk_end;
	struct scan_region regions[16];
};

struct scan scan_pages(char *start, size_t length, uint64_t flags, uint64_t category,
		       uint64_t max_pages);
void assert_regions(const struct scan *scan, int count);
void assert_region(const struct scan *scan, int index, const char *start, size_t pages);

/* Fails the test unless pagemap shows WANT of COUNT pages as present, or as write-protected. */
void assert_present(const void *start, size_t count, size_t want);
void assert_protected(const void *start, size_t count, size_t want);

/* The same for mincore() and resident pages. */
void assert_resident(void *start, size_t count, size_t want);

/* ---- workload.c: a guest's memory, and its vCPUs --------------------- */

/*
 * Memory that migrates: --backing huge (hugetlb), split (the same, split by its user),
 * shmem, shmem-thp, shmem-thp-mlock, thp (anonymous). It has WORKLOAD_BYTES, or PARTS huge pages
 * where that is more.
 */
enum backing {
	BACKING_HUGE, BACKING_SPLIT, BACKING_SHMEM, BACKING_THP, BACKING_THP_LOCKED,
	BACKING_ANONYMOUS,
};
#define WORKLOAD_BYTES (4 * PMD_PAGE)

/* What --backing names; ends the program with code 2 if it names none. */
#define BACKING_NAMES "huge|split|shmem|shmem-thp|shmem-thp-mlock|thp"
#define BACKING_ARGUMENT                                                        \
	{ "--backing", BACKING_NAMES,                                           \
	  "the memory: huge pages, moved whole or split; shmem, of base or of transparent huge "    \
	  "pages; anonymous" }
enum backing backing_of(int argc, char **argv);
/*
 * What the probes of a workload have in common: all but the tests, their options, their setup and
 * what they ask. The memory has at least PARTS huge pages.
 */
struct probe workload_probe(enum backing backing, size_t parts);
const char *backing_name(enum backing backing);
bool backing_is_hugetlb(enum backing backing);
bool backing_is_thp(enum backing backing);
const char *backing_thp_field(enum backing backing); /* of smaps: bytes mapped by PMDs */
size_t backing_length(enum backing backing); /* bytes */

/*
 * A file with all of its pages allocated, into FD, and a mapping of it; and a further
 * mapping, of which nothing is mapped yet. Skips where there are no transparent huge pages.
 * Anonymous memory is not of a file: mappings do not share it.
 */
char *backing_make(enum backing backing, int *fd);
char *backing_map(enum backing backing, int fd);

/*
 * The page, of PAGES, that thread THREAD touches in its step STEP; SHARE is how many pages one
 * thread has where each has its own, STATE the thread's random state. SEQUENTIAL: its share of
 * the memory, page by page. MOVING: a window of 16 pages that moves on by 8 after each 16 steps.
 */
enum access { SEQUENTIAL, UNIFORM, ZIPF, MOVING };
#define ACCESS_KINDS (MOVING + 1)
#define WORKLOAD_THREADS 4
#define WORKLOAD_STEPS 64UL /* of each thread */
const char *access_name(enum access access);
size_t access_page(enum access access, size_t pages, size_t share, size_t thread, size_t step,
		   uint64_t *state);

/* ---- histogram.c: times, kept whole ------------------------------------ */

/*
 * Cell C counts times, in ns, from F on, and less than what F is for C + 1: F is C below
 * HISTOGRAM_STEPS, else (S + C % S) << (C / S - 1), where S is HISTOGRAM_STEPS. Threads may
 * add at the same time. The note has all cells that are not empty, as CELL:COUNT.
 */
#define HISTOGRAM_STEPS 16U
#define HISTOGRAM_CELLS (HISTOGRAM_STEPS * 40) /* to an hour */
struct histogram {
	unsigned int counts[HISTOGRAM_CELLS];
};
void histogram_add(struct histogram *histogram, int64_t ns);
void histogram_note(const struct histogram *histogram, const char *name);

/* ---- pool.c: the pools of huge pages ---------------------------------- */

/* nr_, free_, resv_ or surplus_hugepages of the chosen size. */
long pool_counter(const char *name);

struct pool {
	long total, free, reserved, surplus;
};

struct pool pool_now(void);

/* Fails the test unless the pool has changed by FREE and RESERVED, and not otherwise, since. */
void assert_pool(const struct pool *before, long free, long reserved, const char *when);

/* A file of a size's pool, or of the chosen size's pool on a node; good until the next call. */
const char *pool_file(size_t size, const char *name);
const char *node_file(int node, const char *name);

/* The number in a file; and another one into it, which skips the test without the right to. */
long file_number(const char *path);
void write_number(const char *path, long number);

/* Whether the kernel frees the memory map of huge pages: hugetlb_free_vmemmap=on. */
bool frees_memory_map(void);

/*
 * RUN in a process of its own, after which all pools get the sizes and limits back
 * that they had.
 */
void with_pools(void (*run)(void));

/* ---- cgroup.c: a cgroup of the test's own ------------------------------ */

/*
 * RUN in a process in a new cgroup, which must be charged for no huge page when the
 * process has ended. Skips the test without the right to make one, or without the
 * hugetlb controller.
 */
void in_group(void (*run)(void));

/* The same in a cgroup that has the memory controller too. */
void in_memory_group(void (*run)(void));

/* RUN in a cgroup below the new one, which is removed before AFTER runs, outside of both. */
void in_inner_group(void (*run)(void), void (*after)(void));

/*
 * A file of the new cgroup, and its hugetlb.SIZE.WHAT; assert_charged() fails the test
 * unless that has BYTES.
 */
const char *group_path(const char *name);
const char *group_file(const char *what);
void assert_charged(const char *what, size_t bytes, const char *when);

/* ---- checkpoint.c: page tables, seen from outside the kernel ----------- */

/*
 * Stops here until the host has walked the page tables of a range and compared
 * them with smaps, with pagemap, and with WANT: what the test expects in
 * them, such as "pmd:1,pte:%zu" for entries of a level, "present:%zu" or "wp:%zu"
 * for base pages; "%s", "" for nothing. A disagreement fails the probe. Without
 * a host (--checkpoints host) it prints a line and goes on; with one that does
 * not answer the test fails.
 */
#define checkpoint(start, length, ...)                                          \
	checkpoint_of(start, length, huge_size(), __VA_ARGS__)

/* The same for huge pages of PAGE bytes; BASE_PAGE for ordinary memory. */
void checkpoint_of(const char *start, size_t length, size_t page, const char *want, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Functions that can fail a test first record the line of their caller. A macro's name
 * is not expanded again inside of itself, so that the functions are called.
 */
#ifndef HGM_PROBE_LIBRARY
#define FROM_HERE(call) (probe_at(__FILE_NAME__, __LINE__), call)
#define probe_fail(...) FROM_HERE(probe_fail(__VA_ARGS__))
#define probe_harms(...) FROM_HERE(probe_harms(__VA_ARGS__))
#define child_start(...) FROM_HERE(child_start(__VA_ARGS__))
#define child_end(...) FROM_HERE(child_end(__VA_ARGS__))
#define run_then(...) FROM_HERE(run_then(__VA_ARGS__))
#define check_error(...) FROM_HERE(check_error(__VA_ARGS__))
#define check_bytes(...) FROM_HERE(check_bytes(__VA_ARGS__))
#define huge_memfd(...) FROM_HERE(huge_memfd(__VA_ARGS__))
#define hugetlbfs_file(...) FROM_HERE(hugetlbfs_file(__VA_ARGS__))
#define detached_file(...) FROM_HERE(detached_file(__VA_ARGS__))
#define detached_mount(...) FROM_HERE(detached_mount(__VA_ARGS__))
#define try_mount(...) FROM_HERE(try_mount(__VA_ARGS__))
#define unnamed_file(...) FROM_HERE(unnamed_file(__VA_ARGS__))
#define map_shared(...) FROM_HERE(map_shared(__VA_ARGS__))
#define map_part(...) FROM_HERE(map_part(__VA_ARGS__))
#define map_anonymous(...) FROM_HERE(map_anonymous(__VA_ARGS__))
#define map_private_huge(...) FROM_HERE(map_private_huge(__VA_ARGS__))
#define map_private_huges(...) FROM_HERE(map_private_huges(__VA_ARGS__))
#define reserve_area(...) FROM_HERE(reserve_area(__VA_ARGS__))
#define map_at(...) FROM_HERE(map_at(__VA_ARGS__))
#define map_thp(...) FROM_HERE(map_thp(__VA_ARGS__))
#define unmap(...) FROM_HERE(unmap(__VA_ARGS__))
#define memory_file(...) FROM_HERE(memory_file(__VA_ARGS__))
#define memory_map(...) FROM_HERE(memory_map(__VA_ARGS__))
#define memory_fill(...) FROM_HERE(memory_fill(__VA_ARGS__))
#define backing_make(...) FROM_HERE(backing_make(__VA_ARGS__))
#define backing_map(...) FROM_HERE(backing_map(__VA_ARGS__))
#define punch(...) FROM_HERE(punch(__VA_ARGS__))
#define poison_frame(...) FROM_HERE(poison_frame(__VA_ARGS__))
#define assert_signal(...) FROM_HERE(assert_signal(__VA_ARGS__))
#define check_pages(...) FROM_HERE(check_pages(__VA_ARGS__))
#define check_zero(...) FROM_HERE(check_zero(__VA_ARGS__))
#define check_copy(...) FROM_HERE(check_copy(__VA_ARGS__))
#define filled_memfd(...) FROM_HERE(filled_memfd(__VA_ARGS__))
#define filled_memfd_of(...) FROM_HERE(filled_memfd_of(__VA_ARGS__))
#define split(...) FROM_HERE(split(__VA_ARGS__))
#define collapse(...) FROM_HERE(collapse(__VA_ARGS__))
#define uffd_offered(...) FROM_HERE(uffd_offered(__VA_ARGS__))
#define uffd_open(...) FROM_HERE(uffd_open(__VA_ARGS__))
#define uffd_register(...) FROM_HERE(uffd_register(__VA_ARGS__))
#define map_split(...) FROM_HERE(map_split(__VA_ARGS__))
#define map_split_part(...) FROM_HERE(map_split_part(__VA_ARGS__))
#define assert_result(...) FROM_HERE(assert_result(__VA_ARGS__))
#define uffd_next_fault(...) FROM_HERE(uffd_next_fault(__VA_ARGS__))
#define assert_fault(...) FROM_HERE(assert_fault(__VA_ARGS__))
#define uffd_next_event(...) FROM_HERE(uffd_next_event(__VA_ARGS__))
#define uffd_event_of(...) FROM_HERE(uffd_event_of(__VA_ARGS__))
#define assert_event_range(...) FROM_HERE(assert_event_range(__VA_ARGS__))
#define assert_event_remap(...) FROM_HERE(assert_event_remap(__VA_ARGS__))
#define assert_no_fault(...) FROM_HERE(assert_no_fault(__VA_ARGS__))
#define touch_start(...) FROM_HERE(touch_start(__VA_ARGS__))
#define touch_end(...) FROM_HERE(touch_end(__VA_ARGS__))
#define assert_trapped(...) FROM_HERE(assert_trapped(__VA_ARGS__))
#define assert_untrapped(...) FROM_HERE(assert_untrapped(__VA_ARGS__))
#define server_start(...) FROM_HERE(server_start(__VA_ARGS__))
#define server_end(...) FROM_HERE(server_end(__VA_ARGS__))
#define smaps_bytes(...) FROM_HERE(smaps_bytes(__VA_ARGS__))
#define assert_smaps(...) FROM_HERE(assert_smaps(__VA_ARGS__))
#define assert_flag(...) FROM_HERE(assert_flag(__VA_ARGS__))
#define assert_mapped(...) FROM_HERE(assert_mapped(__VA_ARGS__))
#define assert_whole(...) FROM_HERE(assert_whole(__VA_ARGS__))
#define status_bytes(...) FROM_HERE(status_bytes(__VA_ARGS__))
#define meminfo_bytes(...) FROM_HERE(meminfo_bytes(__VA_ARGS__))
#define pool_counter(...) FROM_HERE(pool_counter(__VA_ARGS__))
#define pool_now(...) FROM_HERE(pool_now(__VA_ARGS__))
#define assert_pool(...) FROM_HERE(assert_pool(__VA_ARGS__))
#define numa_maps_line(...) FROM_HERE(numa_maps_line(__VA_ARGS__))
#define file_number(...) FROM_HERE(file_number(__VA_ARGS__))
#define write_number(...) FROM_HERE(write_number(__VA_ARGS__))
#define with_pools(...) FROM_HERE(with_pools(__VA_ARGS__))
#define pagemap_read(...) FROM_HERE(pagemap_read(__VA_ARGS__))
#define pagemap_entry(...) FROM_HERE(pagemap_entry(__VA_ARGS__))
#define scan_try(...) FROM_HERE(scan_try(__VA_ARGS__))
#define scan_pages(...) FROM_HERE(scan_pages(__VA_ARGS__))
#define assert_regions(...) FROM_HERE(assert_regions(__VA_ARGS__))
#define assert_region(...) FROM_HERE(assert_region(__VA_ARGS__))
#define smaps_mapped(...) FROM_HERE(smaps_mapped(__VA_ARGS__))
#define pagemap_present(...) FROM_HERE(pagemap_present(__VA_ARGS__))
#define mincore_present(...) FROM_HERE(mincore_present(__VA_ARGS__))
#define pagemap_protected(...) FROM_HERE(pagemap_protected(__VA_ARGS__))
#define pagemap_protected_count(...) FROM_HERE(pagemap_protected_count(__VA_ARGS__))
#define assert_present(...) FROM_HERE(assert_present(__VA_ARGS__))
#define assert_resident(...) FROM_HERE(assert_resident(__VA_ARGS__))
#define assert_protected(...) FROM_HERE(assert_protected(__VA_ARGS__))
#define assert_written(...) FROM_HERE(assert_written(__VA_ARGS__))
#define in_inner_group(...) FROM_HERE(in_inner_group(__VA_ARGS__))
#define in_group(...) FROM_HERE(in_group(__VA_ARGS__))
#define assert_charged(...) FROM_HERE(assert_charged(__VA_ARGS__))
#define checkpoint_of(...) FROM_HERE(checkpoint_of(__VA_ARGS__))
#endif

#endif
