// SPDX-License-Identifier: GPL-2.0-only
/* Files and mappings of huge pages, and contents that tell one base page from another. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "library.h"

#define MOUNT_OPTIONS 256
#define WORDS (BASE_PAGE / sizeof(uint64_t))

int huge_memfd_of(size_t size, size_t count)
{
	int fd = memfd_create("hgm-probe", MFD_CLOEXEC | MFD_HUGETLB |
			      (unsigned int)__builtin_ctzl(size) << MFD_HUGE_SHIFT);

	if (fd >= 0 && ftruncate(fd, (off_t)(count * size)) == 0)
		return fd;
	return -errno;
}

int huge_memfd(size_t count)
{
	int fd = huge_memfd_of(huge_size(), count);

	assert_that(fd >= 0, "memfd_create of %s: %s", range_text(count * huge_size()),
		    error_name(-fd));
	return fd;
}

/* "size=1G,mode=700"; returns an error number. */
static int set_options(int context, char *options)
{
	char *option, *value;

	while ((option = strsep(&options, ","))) {
		value = strchr(option, '=');
		if (value)
			*value++ = '\0';
		if (*option && fsconfig(context, FSCONFIG_SET_STRING, option, value, 0) != 0)
			return errno;
	}
	return fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0 ? 0 : errno;
}

int try_mount(const char *filesystem, const char *options)
{
	char copy[MOUNT_OPTIONS];
	int context = fsopen(filesystem, FSOPEN_CLOEXEC), mount, error;

	if (context < 0) {
		if (errno == ENOSYS || errno == ENODEV || errno == EPERM)
			probe_skip("fsopen of %s: %s", filesystem, error_name(errno));
		return -errno;
	}
	snprintf(copy, sizeof(copy), "%s", options);
	error = set_options(context, copy);
	mount = error ? -error : fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (!error && mount < 0)
		mount = -errno;
	close(context);
	return mount;
}

int detached_mount(const char *filesystem, const char *format, ...)
{
	char options[MOUNT_OPTIONS];
	va_list arguments;
	int mount;

	va_start(arguments, format);
	vsnprintf(options, sizeof(options), format, arguments);
	va_end(arguments);
	mount = try_mount(filesystem, options);
	assert_that(mount >= 0, "mount of %s with options %s: %s", filesystem, options,
		    error_name(-mount));
	return mount;
}

int unnamed_file(int mount)
{
	int file = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_that(file >= 0, "O_TMPFILE: %s", error_name(errno));
	return file;
}

int detached_file(const char *filesystem)
{
	int mount = try_mount(filesystem, ""), file;

	assert_that(mount >= 0, "mount of %s: %s", filesystem, error_name(-mount));
	file = unnamed_file(mount);
	close(mount);
	return file;
}

int hugetlbfs_file(size_t count)
{
	int mount = detached_mount("hugetlbfs", "pagesize=%zu", huge_size());
	int file = unnamed_file(mount);

	close(mount);
	assert_that(ftruncate(file, (off_t)(count * huge_size())) == 0, "ftruncate to %s: %s",
		    range_text(count * huge_size()), error_name(errno));
	return file;
}

char *map_part(int fd, size_t first, size_t length, enum reserve reserve)
{
	int flags = MAP_SHARED | (reserve == UNRESERVED ? MAP_NORESERVE : 0);
	void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd,
			   (off_t)(first * huge_size()));

	assert_that(start != MAP_FAILED, "shared mmap of %s%s: %s", range_text(length),
		    reserve == RESERVED ? "" : " with MAP_NORESERVE", error_name(errno));
	return start;
}

char *map_shared(int fd, size_t length, enum reserve reserve)
{
	return map_part(fd, 0, length, reserve);
}

char *map_anonymous(size_t length, int extra_flags)
{
	void *start = mmap(NULL, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | extra_flags, -1, 0);

	assert_that(start != MAP_FAILED, "anonymous mmap of %s: %s", range_text(length),
		    error_name(errno));
	return start;
}

char *map_private_huges(size_t count, enum reserve reserve)
{
	int flags = MAP_HUGETLB | (reserve == UNRESERVED ? MAP_NORESERVE : 0);

	return map_anonymous(count * huge_size(),
			     flags | __builtin_ctzl(huge_size()) << MAP_HUGE_SHIFT);
}

char *map_private_huge(enum reserve reserve)
{
	return map_private_huges(1, reserve);
}

char *reserve_area(size_t length, size_t alignment)
{
	char *area = mmap(NULL, length + alignment, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_that(area != MAP_FAILED, "mmap of %s with PROT_NONE: %s",
		    size_text((int64_t)(length + alignment)), error_name(errno));
	return (char *)(((uintptr_t)area + alignment - 1) & ~(alignment - 1));
}

char *map_at(char *start, size_t length, int flags, int fd)
{
	void *mapped = mmap(start, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);

	assert_that(mapped == start, "mmap of %s with MAP_FIXED: %s", range_text(length),
		    error_name(errno));
	return start;
}

enum memory_kind memory_kind(int argc, char **argv)
{
	static const char *const names[] = { "hugetlb", "shmem", "anonymous", "thp" };
	const char *name = probe_option(argc, argv, "--memory");

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(name ? name : names[HUGETLB], names[i]) == 0)
			return i;
	fprintf(stderr, "%s: --memory %s is none of hugetlb, shmem, anonymous, thp\n", argv[0], name);
	exit(2);
}

size_t memory_unit(enum memory_kind kind)
{
	return kind == HUGETLB ? huge_size() : kind == TRANSPARENT ? PMD_PAGE : BASE_PAGE;
}

int memory_file(enum memory_kind kind, size_t count)
{
	int fd = -1;

	if (kind == HUGETLB)
		return huge_memfd(count);
	if (kind == SHMEM) {
		fd = memfd_create("hgm-probe", MFD_CLOEXEC);
		assert_that(fd >= 0 && ftruncate(fd, (off_t)(count * BASE_PAGE)) == 0,
			    "memfd_create of %zu base pages: %s", count, error_name(errno));
	}
	return fd;
}

char *map_thp(size_t length)
{
	char *start = map_at(reserve_area(length, PMD_PAGE), length, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1);

	if (madvise(start, length, MADV_HUGEPAGE) != 0)
		probe_skip("MADV_HUGEPAGE: %s", error_name(errno));
	return start;
}

static char *map_transparent(size_t length)
{
	char *aligned = map_thp(length);

	for (size_t offset = 0; offset < length; offset += PMD_PAGE)
		*(volatile char *)(aligned + offset) = 0;
	if (smaps_bytes(aligned, "AnonHugePages") < (int64_t)length)
		probe_skip("AnonHugePages: %s of %s",
			   size_text(smaps_bytes(aligned, "AnonHugePages")),
			   size_text((int64_t)length));
	return aligned;
}

char *memory_map(enum memory_kind kind, int fd, size_t count)
{
	size_t length = count * memory_unit(kind);

	if (kind == TRANSPARENT)
		return map_transparent(length);
	return fd < 0 ? map_anonymous(length, 0) : map_shared(fd, length, UNRESERVED);
}

void memory_fill(enum memory_kind kind, char *start, size_t count, unsigned int seed)
{
	for (size_t i = 0; i < count; i++)
		fill_pages(start + i * memory_unit(kind), 0, 1, seed);
}

void put_function(char *at)
{
#if defined(__x86_64__)
	static const unsigned char code[FUNCTION] = { 0xb8, 42, 0, 0, 0, 0xc3 };
#elif defined(__aarch64__)
	static const unsigned char code[FUNCTION] = { 0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6 };
#elif defined(__riscv)
	static const unsigned char code[FUNCTION] = { 0x13, 0x05, 0xa0, 0x02, 0x67, 0x80, 0x00, 0x00 };
#else
	static const unsigned char code[FUNCTION];

	probe_skip("the machine code of this architecture is not known");
#endif
	memcpy(at, code, FUNCTION);
	__builtin___clear_cache(at, at + FUNCTION);
}

void unmap(void *start, size_t length)
{
	assert_that(munmap(start, length) == 0, "munmap of %s: %s", range_text(length),
		    error_name(errno));
}

void punch(int fd, size_t first, size_t count)
{
	assert_that(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(first * huge_size()), (off_t)(count * huge_size())) == 0,
		    "FALLOC_FL_PUNCH_HOLE of %zu huge pages: %s", count, error_name(errno));
}

int poison_frame(uint64_t frame)
{
	const char *path = "/sys/kernel/debug/hwpoison/corrupt-pfn";
	char text[32];

	if (access(path, W_OK) != 0)
		probe_skip("%s: %s", path, error_name(errno));
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)frame);
	return write_text(path, text);
}

static sigjmp_buf before_access;

static void on_signal(int number)
{
	siglongjmp(before_access, number);
}

int signal_of(void (*act)(void *), void *argument)
{
	static const int numbers[] = { SIGSEGV, SIGBUS };
	struct sigaction action = { .sa_handler = on_signal }, old[COUNT_OF(numbers)];
	int caught;

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		sigaction(numbers[i], &action, &old[i]);
	caught = sigsetjmp(before_access, 1);
	if (caught == 0)
		act(argument);
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		sigaction(numbers[i], &old[i], NULL);
	return caught;
}

static void read_word(void *address)
{
	(void)*(volatile uint64_t *)address;
}

static void write_word(void *address)
{
	*(volatile uint64_t *)address = 0;
}

static int access_signal(void *address, enum touch_kind kind)
{
	return signal_of(kind == TOUCH_WRITE ? write_word : read_word, address);
}

static const char *signal_name(int number)
{
	return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : "no signal";
}

void assert_signal(void *address, enum touch_kind kind, int want)
{
	int got = access_signal(address, kind);

	if (got != want)
		probe_fail("a %s at %p: expected %s, got %s", kind == TOUCH_WRITE ? "write" : "read",
			   address, signal_name(want), signal_name(got));
}

/* "HGMP", eight bits of the seed, 24 bits of the page's number: enough for 64 GiB. */
static uint64_t stamp(size_t page, unsigned int seed)
{
	return 0x48474d5000000000ULL | (uint64_t)(seed & 0xff) << 24 | (page & 0xffffff);
}

static void describe_word(char *text, size_t room, uint64_t word)
{
	if (word >> 32 == stamp(0, 0) >> 32)
		snprintf(text, room, "page %llu of filling %llu",
			 (unsigned long long)(word & 0xffffff),
			 (unsigned long long)(word >> 24 & 0xff));
	else if (word)
		snprintf(text, room, "%#llx", (unsigned long long)word);
	else
		snprintf(text, room, "zero");
}

static _Noreturn void wrong_page(size_t page, uint64_t seen, uint64_t wanted)
{
	char shown[48], expected[48];

	describe_word(shown, sizeof(shown), seen);
	describe_word(expected, sizeof(expected), wanted);
	probe_fail("page %zu shows %s, expected %s", page, shown, expected);
}

/* PAGE is what the page at START is called. */
static void check_page(const char *start, size_t page, uint64_t wanted)
{
	const volatile uint64_t *words = (const void *)start;

	if (words[0] != wanted)
		wrong_page(page, words[0], wanted);
	if (words[WORDS - 1] != wanted)
		wrong_page(page, words[WORDS - 1], wanted);
}

void fill_copy(char *copy, size_t first, size_t count, unsigned int seed)
{
	for (size_t i = 0; i < count; i++) {
		volatile uint64_t *words = (void *)(copy + i * BASE_PAGE);

		words[0] = words[WORDS - 1] = stamp(first + i, seed);
	}
}

void check_copy(const char *copy, size_t first, size_t count, unsigned int seed)
{
	for (size_t i = 0; i < count; i++)
		check_page(copy + i * BASE_PAGE, first + i, stamp(first + i, seed));
}

void fill_pages(char *huge, size_t first, size_t count, unsigned int seed)
{
	fill_copy(huge + first * BASE_PAGE, first, count, seed);
}

void check_pages(const char *huge, size_t first, size_t count, unsigned int seed)
{
	check_copy(huge + first * BASE_PAGE, first, count, seed);
}

void check_zero(const char *huge, size_t first, size_t count)
{
	for (size_t page = first; page < first + count; page++)
		check_page(huge + page * BASE_PAGE, page, 0);
}

int filled_memfd_of(size_t count, size_t stride, unsigned int seed)
{
	int fd = huge_memfd(count);
	char *all = map_shared(fd, count * huge_size(), RESERVED);

	for (size_t page = 0; page < count * huge_pages(); page += stride)
		fill_pages(all, page, 1, seed);
	unmap(all, count * huge_size());
	return fd;
}

int filled_memfd(size_t stride, unsigned int seed)
{
	return filled_memfd_of(1, stride, seed);
}
