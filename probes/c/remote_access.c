// SPDX-License-Identifier: GPL-2.0-only
/* process_vm_readv(), process_vm_writev() and /proc/PID/mem on base pages of a huge page. */
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2
#define PAGES 8UL

static int fd;
static char buffer[PAGES * BASE_PAGE];

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Transfers COUNT pages between the buffer and page FIRST of the mapping; returns the bytes. */
static ssize_t transfer(bool write, char *primary, size_t first, size_t count)
{
	struct iovec local = { buffer, count * BASE_PAGE };
	struct iovec remote = { primary + first * BASE_PAGE, count * BASE_PAGE };

	return write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0) :
		       process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

static void assert_transfer(bool write, char *primary, size_t first, size_t count)
{
	ssize_t done = transfer(write, primary, first, count);

	assert_that(done == (ssize_t)(count * BASE_PAGE),
		    "%s of %zu base pages from page %zu on: expected all, got %s",
		    write ? "process_vm_writev" : "process_vm_readv", count, first,
		    done < 0 ? error_name(errno) : size_text(done));
}

/* What the buffer holds must be pages FIRST to FIRST + COUNT. */
static void assert_buffer(size_t first, size_t count, unsigned int seed)
{
	check_copy(buffer, first, count, seed);
}

/* 4 KiB entries before a boundary, the largest that fit after it; of 1 GiB at 2 MiB. */
static char *map_mixed(int *uffd, size_t *boundary)
{
	char *primary = map_split(fd, 0, 0, uffd);

	*boundary = huge_size() == PUD_PAGE ? PMD_PAGE / BASE_PAGE : 64;
	for (size_t page = *boundary - PAGES; page < *boundary; page++)
		assert_continue(*uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(*uffd, primary + *boundary * BASE_PAGE, PMD_PAGE / 2, 0, PMD_PAGE / 2);
	return primary;
}

static void read_pages(void)
{
	size_t boundary;
	int uffd;
	char *primary = map_mixed(&uffd, &boundary);

	assert_transfer(false, primary, boundary - 3, PAGES);
	assert_buffer(boundary - 3, PAGES, FILLING);
}

static void write_pages(void)
{
	size_t boundary;
	int uffd;
	char *primary = map_mixed(&uffd, &boundary), *alias;

	alias = map_shared(fd, huge_size(), UNRESERVED);
	fill_copy(buffer, boundary - 3, PAGES, REFILLING);
	assert_transfer(true, primary, boundary - 3, PAGES);
	check_pages(alias, boundary - 3, PAGES, REFILLING);
	check_pages(alias, boundary - 4, 1, FILLING);
	check_pages(alias, boundary - 3 + PAGES, 1, FILLING);
	fill_pages(alias, boundary - 3, PAGES, FILLING);
}

static void through_a_file(void)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), uffd;
	size_t boundary;
	char *primary = map_mixed(&uffd, &boundary), *alias;
	off_t at = (off_t)(uintptr_t)(primary + (boundary - 2) * BASE_PAGE);

	assert_that(mem >= 0, "/proc/self/mem: %s", error_name(errno));
	assert_bytes(pread(mem, buffer, 4 * BASE_PAGE, at), 4 * BASE_PAGE);
	assert_buffer(boundary - 2, 4, FILLING);
	/* Across the boundary of two base pages. */
	assert_bytes(pwrite(mem, "hugetlb", 7, at + (off_t)BASE_PAGE - 3 + 0x400), 7);
	alias = map_shared(fd, huge_size(), UNRESERVED);
	assert_that(memcmp(alias + (boundary - 1) * BASE_PAGE - 3 + 0x400, "hugetlb", 7) == 0,
		    "the other mapping does not show what was written through /proc/self/mem");
}

/* process_vm_readv() blocks in the fault as a read by the thread itself would. */
static char *hole;

static void *read_hole(void *done)
{
	*(ssize_t *)done = transfer(false, hole, 0, 2);
	return NULL;
}

static void hole_is_a_fault(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	pthread_t thread;
	ssize_t done = 0;

	assert_continue(uffd, primary + 20 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	hole = primary + 20 * BASE_PAGE;
	assert_error(pthread_create(&thread, NULL, read_hole, &done), 0);
	assert_fault(uffd, primary + 21 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, primary + 21 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	pthread_join(thread, NULL);
	assert_that(done == 2 * (ssize_t)BASE_PAGE,
		    "process_vm_readv gave %zd bytes, expected two base pages", done);
	assert_buffer(20, 2, FILLING);
	assert_mapped(primary, 0, 0, 2 * BASE_PAGE);
}

/* At 37 places; then once more after MADV_COLLAPSE. */
static void full_and_collapsed(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary, huge_size() - BASE_PAGE, 0, huge_size() - BASE_PAGE);
	for (size_t page = 0; page + PAGES < huge_pages(); page += huge_pages() / 37) {
		assert_transfer(false, primary, page, PAGES);
		assert_buffer(page, PAGES, FILLING);
	}
	collapse(primary, huge_size());
	assert_transfer(false, primary, huge_pages() - PAGES, PAGES);
	assert_buffer(huge_pages() - PAGES, PAGES, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "process_vm_readv reads across 4 KiB and larger entries", read_pages },
		{ "process_vm_writev writes the base pages it was given and no others",
		  write_pages },
		{ "/proc/self/mem reads and writes across base pages of a split huge page",
		  through_a_file },
		{ "process_vm_readv of a hole is a minor fault and ends after UFFDIO_CONTINUE",
		  hole_is_a_fault },
		{ "process_vm_readv reads an almost full and a collapsed huge page",
		  full_and_collapsed },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
