// SPDX-License-Identifier: GPL-2.0-only
/*
 * MADV_COLLAPSE of ordinary memory and of shmem: its range and nothing else, an
 * errno that says whether trying again helps, and no page that a userfaultfd
 * waits for.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"
#define PAGES (PMD_PAGE / BASE_PAGE)

/* LENGTH bytes at an address that is a multiple of 2 MiB: of FD, or anonymous without one. */
static char *aligned(size_t length, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	return map_at(reserve_area(length, PMD_PAGE), length, flags, fd);
}

/* Base pages, each with its number in it. */
static void fill_base_pages(char *start, size_t count)
{
	for (size_t page = 0; page < count; page++)
		*(volatile uint64_t *)(start + page * BASE_PAGE) = page + 1;
}

static void check_base_pages(const char *start, size_t count)
{
	for (size_t page = 0; page < count; page++) {
		uint64_t seen = *(const volatile uint64_t *)(start + page * BASE_PAGE);

		assert_that(seen == page + 1, "page %zu shows %llu, expected %zu", page,
			    (unsigned long long)seen, page + 1);
	}
}

/* "always", "madvise" or "never"; what the file had before comes back at the end. */
static char enabled_before[16];

static void enable_as_before(void)
{
	write_text(ENABLED, enabled_before);
}

/* Only MADV_COLLAPSE makes huge pages then, not a fault and not khugepaged. */
static void never_by_itself(void)
{
	FILE *file = fopen(ENABLED, "re");
	char line[64];
	int error;

	if (!file || !fgets(line, sizeof(line), file) ||
	    sscanf(line, "%*[^[][%15[a-z]]", enabled_before) + sscanf(line, "[%15[a-z]]",
								      enabled_before) < 1)
		probe_skip(ENABLED ": %s", error_name(file ? EINVAL : errno));
	fclose(file);
	atexit(enable_as_before);
	error = write_text(ENABLED, "never");
	if (error)
		probe_skip(ENABLED ": %s", error_name(error));
}

static void its_range(void)
{
	char *start = aligned(4 * PMD_PAGE, -1);

	fill_base_pages(start, 4 * PAGES);
	assert_smaps(start, "AnonHugePages", 0);
	assert_error(advise(start, 2 * PMD_PAGE, MADV_COLLAPSE), 0);
	assert_smaps(start, "AnonHugePages", 2 * PMD_PAGE);
	check_base_pages(start, 4 * PAGES);
	/* Rounded inwards. */
	assert_error(advise(start + 2 * PMD_PAGE, PMD_PAGE + BASE_PAGE, MADV_COLLAPSE), 0);
	assert_smaps(start, "AnonHugePages", 3 * PMD_PAGE);
	check_base_pages(start, 4 * PAGES);
}

/* What follows the range in the mapping is empty, and cannot be collapsed. */
static void nothing_behind(void)
{
	char *start = aligned(3 * PMD_PAGE, -1);

	fill_base_pages(start, PAGES);
	assert_error(advise(start, PMD_PAGE, MADV_COLLAPSE), 0);
	assert_smaps(start, "AnonHugePages", PMD_PAGE);
	check_base_pages(start, PAGES);
}

static void held_page(void)
{
	char *start = aligned(PMD_PAGE, -1), buffer[BASE_PAGE];
	struct iovec part = { start + 7 * BASE_PAGE, BASE_PAGE };
	int ends[2];

	fill_base_pages(start, PAGES);
	assert_errno(pipe2(ends, O_CLOEXEC), 0);
	assert_bytes(vmsplice(ends[1], &part, 1, 0), BASE_PAGE);
	assert_error(advise(start, PMD_PAGE, MADV_COLLAPSE), EAGAIN);
	check_base_pages(start, PAGES);
	assert_bytes(read(ends[0], buffer, BASE_PAGE), BASE_PAGE);
	assert_error(advise(start, PMD_PAGE, MADV_COLLAPSE), 0);
	assert_smaps(start, "AnonHugePages", PMD_PAGE);
	check_base_pages(start, PAGES);
}

static void refused(void)
{
	char *start = aligned(PMD_PAGE, -1);

	unmap(start, PMD_PAGE);
	assert_error(advise(start, PMD_PAGE, MADV_COLLAPSE), ENOMEM);
}

/* Another mapping of the file waits for missing pages, which a collapse would fill with zeros. */
static void awaited_pages(void)
{
	int fd = memory_file(SHMEM, PAGES), uffd, error;
	char *registered, *other;
	struct touch touch;

	registered = aligned(PMD_PAGE, fd);
	other = aligned(PMD_PAGE, fd);
	uffd = uffd_open(UFFD_FEATURE_MISSING_SHMEM);
	uffd_register(uffd, registered, PMD_PAGE, UFFDIO_REGISTER_MODE_MISSING);
	*(volatile uint64_t *)other = 1;
	error = advise(other, PMD_PAGE, MADV_COLLAPSE);
	assert_that(error != 0, "MADV_COLLAPSE of a file with missing pages that a userfaultfd "
		    "waits for: expected an error, got success");
	touch_start(&touch, registered + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, registered + 5 * BASE_PAGE, 0);
	assert_error(uffd_unregister(uffd, registered, PMD_PAGE), 0);
	touch_end(&touch);
	error = advise(other, PMD_PAGE, MADV_COLLAPSE);
	if (error)
		probe_skip("MADV_COLLAPSE of shmem: %s", error_name(error));
	assert_that(*(volatile uint64_t *)registered == 1, "the collapsed page has lost its contents");
}

/* The file has one large folio, of which another mapping waits for each base page. */
static void continued_parts(void)
{
	int fd = memory_file(SHMEM, PAGES), uffd, error;
	char *registered = aligned(PMD_PAGE, fd), *other = aligned(PMD_PAGE, fd);
	struct touch touch;

	fill_base_pages(other, PAGES);
	error = advise(other, PMD_PAGE, MADV_COLLAPSE);
	if (error)
		probe_skip("MADV_COLLAPSE of shmem: %s", error_name(error));
	uffd = uffd_open(UFFD_FEATURE_MINOR_SHMEM);
	uffd_register(uffd, registered, PMD_PAGE, UFFDIO_REGISTER_MODE_MINOR);
	touch_start(&touch, registered + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, registered + 5 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, registered + 5 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
	assert_present(registered, PAGES, 1);
	assert_continue(uffd, registered, 5 * BASE_PAGE, 0, 5 * BASE_PAGE);
	assert_continue(uffd, registered + 6 * BASE_PAGE, (PAGES - 6) * BASE_PAGE, 0,
			(PAGES - 6) * (int64_t)BASE_PAGE);
	check_base_pages(registered, PAGES);
	*(volatile uint64_t *)(registered + 5 * BASE_PAGE) = 5;
	assert_that(*(volatile uint64_t *)(other + 5 * BASE_PAGE) == 5,
		    "a write through one mapping is not in the other");
}

/* A huge page would have to forget which of its base pages is write-protected. */
static void protected_page(void)
{
	char *start = aligned(PMD_PAGE, -1), *marked = start + 5 * BASE_PAGE;
	struct touch touch;
	int uffd, error;

	fill_base_pages(start, PAGES);
	uffd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	uffd_register(uffd, start, PMD_PAGE, UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, marked, BASE_PAGE, true), 0);
	error = advise(start, PMD_PAGE, MADV_COLLAPSE);
	assert_that(error != 0, "MADV_COLLAPSE over a write-protected base page: expected an error, "
		    "got success");
	assert_protected(start, PAGES, 1);
	check_base_pages(start, PAGES);
	touch_start(&touch, marked, TOUCH_WRITE);
	assert_fault(uffd, marked, UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, marked, BASE_PAGE, false), 0);
	touch_end(&touch);
	assert_no_fault(uffd);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_COLLAPSE collapses its range and nothing after it", its_range },
		{ "MADV_COLLAPSE succeeds whatever is after its range", nothing_behind },
		{ "MADV_COLLAPSE is EAGAIN while a pipe holds a page, and works after", held_page },
		{ "MADV_COLLAPSE of what is not mapped is ENOMEM", refused },
		{ "MADV_COLLAPSE of shmem fills no page that a userfaultfd waits for", awaited_pages },
		{ "UFFDIO_CONTINUE maps any part of a collapsed page of shmem", continued_parts },
		{ "MADV_COLLAPSE leaves a base page that is write-protected as it is", protected_page },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_4k_pages = true,
		.setup = never_by_itself,
	});
}
