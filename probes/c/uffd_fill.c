// SPDX-License-Identifier: GPL-2.0-only
/*
 * UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_CONTINUE of ranges of hugetlb, shmem, anonymous memory:
 * what is filled when a range meets a page, a hole in its source, the end of its mapping or of
 * its file, and what the result field says of it.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hgm_probe.h"

#define UNITS 4UL
#define OLD 1
#define NEW 2

static enum memory_kind kind;
static int fd, uffd;
static char *start, *source;
static struct pool before;

static size_t unit(void)
{
	return memory_unit(kind);
}

static char *at(size_t number)
{
	return start + number * unit();
}

static char *from(size_t number)
{
	return source + number * unit();
}

/* Anonymous, whatever the destination is: huge pages would be those of the pool. */
static void make_source(void)
{
	source = map_anonymous(UNITS * unit(), 0);
	memory_fill(kind, source, UNITS, NEW);
}

static void map_registered(uint64_t features, uint64_t mode)
{
	if (kind == TRANSPARENT)
		probe_skip("a transparent huge page is filled by base pages");
	before = pool_now();
	fd = memory_file(kind, UNITS);
	start = memory_map(kind, fd, UNITS);
	uffd = uffd_open(features);
	uffd_register(uffd, start, UNITS * unit(), mode);
	make_source();
}

static void map_missing(void)
{
	map_registered(0, UFFDIO_REGISTER_MODE_MISSING);
}

/* Fails the test unless just these units are there; MASK has a bit for each. */
static void assert_filled(unsigned int mask)
{
	for (size_t i = 0; i < UNITS; i++) {
		bool want = mask & 1U << i;

		assert_that((pagemap_present(at(i), 1) != 0) == want, "unit %zu is %s, expected %s", i,
			    want ? "a hole" : "there", want ? "a page" : "a hole");
	}
	if (kind == HUGETLB)
		assert_pool(&before, -(long)__builtin_popcount(mask), 0, "of the units there");
}

static void assert_copy(size_t first, size_t count, int error, int64_t done)
{
	assert_result(uffd_copy(uffd, at(first), from(first), count * unit()), error, done);
}

static void fills_in_place(void)
{
	struct touch touch;

	map_missing();
	touch_start(&touch, at(1), TOUCH_READ);
	assert_fault(uffd, at(1), 0);
	assert_copy(0, UNITS, 0, (int64_t)(UNITS * unit()));
	touch_end(&touch);
	assert_filled(0xf);
	for (size_t i = 0; i < UNITS; i++)
		check_pages(at(i), 0, 1, NEW);
	assert_no_fault(uffd);
}

static void stops_before_a_page(void)
{
	map_missing();
	fill_pages(source, 0, 1, OLD);
	assert_result(uffd_copy(uffd, at(2), source, unit()), 0, (int64_t)unit());
	fill_pages(source, 0, 1, NEW);
	assert_copy(0, UNITS, EAGAIN, (int64_t)(2 * unit()));
	assert_filled(0x7);
	assert_copy(2, 2, EEXIST, -EEXIST);
	check_pages(at(0), 0, 1, NEW);
	check_pages(at(1), 0, 1, NEW);
	check_pages(at(2), 0, 1, OLD);
	assert_filled(0x7);
}

static void stops_where_the_source_ends(void)
{
	map_missing();
	unmap(from(2), 2 * unit());
	assert_copy(0, UNITS, EAGAIN, (int64_t)(2 * unit()));
	assert_copy(2, 1, EFAULT, -EFAULT);
	assert_filled(0x3);
}

static void refused(void)
{
	char *free = map_anonymous(2 * unit(), 0);

	map_missing();
	assert_result(uffd_copy(uffd, at(0), source, 0), EINVAL, 0);
	assert_result(uffd_copy(uffd, at(0) + 1, source, unit()), EINVAL, 0);
	assert_result(uffd_copy(uffd, at(0), source, unit() + 1), EINVAL, 0);
	assert_result(uffd_copy(uffd, (void *)-BASE_PAGE, source, 2 * BASE_PAGE), EINVAL, 0);
	assert_result(uffd_copy_mode(uffd, at(0), source, unit(), 1ULL << 40), EINVAL, 0);
	assert_result(uffd_copy(uffd, free, source, unit()), ENOENT, -ENOENT);
	assert_filled(0);
}

/* Both registered: a range is of one mapping. */
static void not_across_mappings(void)
{
	map_missing();
	assert_errno(mprotect(at(2), 2 * unit(), PROT_READ), 0);
	assert_copy(0, UNITS, ENOENT, -ENOENT);
	assert_filled(0);
	assert_copy(2, 2, 0, (int64_t)(2 * unit()));
	check_pages(at(3), 0, 1, NEW);
	assert_filled(0xc);
}

static void wakes_nobody(void)
{
	struct touch touch;

	map_missing();
	touch_start(&touch, at(0), TOUCH_READ);
	assert_fault(uffd, at(0), 0);
	assert_that(touch_is_blocked(&touch), "the reader does not wait");
	assert_result(uffd_copy_mode(uffd, at(0), from(0), unit(), UFFDIO_COPY_MODE_DONTWAKE), 0,
		      (int64_t)unit());
	assert_that(touch_is_blocked(&touch), "UFFDIO_COPY with MODE_DONTWAKE woke the reader");
	assert_error(uffd_wake(uffd, at(0), unit()), 0);
	touch_end(&touch);
}

static void ends_with_registration(void)
{
	struct touch touch;

	map_missing();
	touch_start(&touch, at(0), TOUCH_READ);
	assert_fault(uffd, at(0), 0);
	assert_error(uffd_unregister(uffd, start, UNITS * unit()), 0);
	assert_that(touch_end(&touch) == 0, "a hole reads as something else than zero");
	assert_copy(1, 1, ENOENT, -ENOENT);
}

static void zero_pages(void)
{
	struct touch touch;

	map_missing();
	if (kind == HUGETLB)
		probe_skip("no huge page can be a zero page");
	assert_copy(2, 1, 0, (int64_t)unit());
	touch_start(&touch, at(0), TOUCH_READ);
	assert_fault(uffd, at(0), 0);
	assert_result(uffd_zeropage(uffd, at(0), UNITS * unit()), EAGAIN, (int64_t)(2 * unit()));
	assert_that(touch_end(&touch) == 0, "a zero page reads as something else than zero");
	assert_result(uffd_zeropage(uffd, at(2), unit()), EEXIST, -EEXIST);
	check_zero(at(1), 0, 1);
	check_pages(at(2), 0, 1, NEW);
	assert_filled(0x7);
	fill_pages(at(1), 0, 1, OLD);
	check_zero(at(0), 0, 1);
}

static void require_file(void)
{
	if (kind == ANONYMOUS)
		probe_skip("anonymous memory has no file");
}

static void map_minor(void)
{
	map_registered(kind == HUGETLB ? UFFD_FEATURE_MINOR_HUGETLBFS : UFFD_FEATURE_MINOR_SHMEM,
		       UFFDIO_REGISTER_MODE_MINOR);
}

static void continues_what_the_file_has(void)
{
	char *other;

	require_file();
	map_minor();
	other = memory_map(kind, fd, UNITS);
	/* A large folio of shmem would fill the hole as well. */
	madvise(other, UNITS * unit(), MADV_NOHUGEPAGE);
	memory_fill(kind, other, 3, OLD);
	assert_continue(uffd, at(1), unit(), 0, (int64_t)unit());
	assert_continue(uffd, at(0), 3 * unit(), EAGAIN, (int64_t)unit());
	assert_continue(uffd, at(1), unit(), EEXIST, -EEXIST);
	assert_continue(uffd, at(2), 2 * unit(), EAGAIN, (int64_t)unit());
	assert_continue(uffd, at(3), unit(), EFAULT, -EFAULT);
	for (size_t i = 0; i < 3; i++)
		check_pages(at(i), 0, 1, OLD);
	assert_that(pagemap_present(at(3), 1) == 0, "a hole was mapped");
}

/* The mapping is longer than the file: there is nothing to fill. */
static void not_beyond_the_file(void)
{
	struct stat seen;

	require_file();
	map_missing();
	assert_errno(ftruncate(fd, (off_t)(2 * unit())), 0);
	assert_copy(1, 2, EAGAIN, (int64_t)unit());
	assert_copy(2, 1, EFAULT, -EFAULT);
	assert_errno(fstat(fd, &seen), 0);
	assert_that((size_t)seen.st_size == 2 * unit() && (size_t)seen.st_blocks * 512 == unit(),
		    "the file has %lld bytes and %lld blocks of 512, expected %zu and those of one page",
		    (long long)seen.st_size, (long long)seen.st_blocks, 2 * unit());
}

/* A tmpfs of two pages, of which one is in use. */
static void not_beyond_the_mount(void)
{
	struct statvfs space;
	char options[48];
	int mount;

	if (kind != SHMEM)
		probe_skip("the memory has no mount of its own");
	snprintf(options, sizeof(options), "size=%zu,huge=never", 2 * unit());
	mount = try_mount("tmpfs", options);
	if (mount < 0)
		probe_skip("mount of tmpfs: %s", error_name(-mount));
	fd = unnamed_file(mount);
	assert_errno(ftruncate(fd, (off_t)(UNITS * unit())), 0);
	start = map_shared(fd, UNITS * unit(), UNRESERVED);
	uffd = uffd_open(0);
	uffd_register(uffd, start, UNITS * unit(), UFFDIO_REGISTER_MODE_MISSING);
	make_source();
	assert_copy(0, UNITS, EAGAIN, (int64_t)(2 * unit()));
	assert_copy(2, 1, ENOMEM, -ENOMEM);
	assert_errno(fstatvfs(mount, &space), 0);
	assert_that(space.f_bfree == 0, "the mount has %lu free pages, expected none", space.f_bfree);
	assert_error(advise(at(0), unit(), MADV_REMOVE), 0);
	assert_copy(2, 1, 0, (int64_t)unit());
	assert_errno(fstatvfs(mount, &space), 0);
	assert_that(space.f_bfree == 0, "the mount has %lu free pages, expected none", space.f_bfree);
	check_pages(at(1), 0, 1, NEW);
	check_pages(at(2), 0, 1, NEW);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_COPY of a range ends a missing fault in it and fills all of it", fills_in_place },
		{ "UFFDIO_COPY stops before a page that is there, and is EEXIST for that page",
		  stops_before_a_page },
		{ "UFFDIO_COPY stops where its source ends, and is EFAULT beyond",
		  stops_where_the_source_ends },
		{ "UFFDIO_COPY of no range, of a part or to memory that is not registered is refused",
		  refused },
		{ "UFFDIO_COPY of two mappings is ENOENT, to a read-only one it works",
		  not_across_mappings },
		{ "UFFDIO_COPY with MODE_DONTWAKE fills the page, and UFFDIO_WAKE wakes", wakes_nobody },
		{ "UFFDIO_UNREGISTER wakes a waiting reader, which then reads zeros",
		  ends_with_registration },
		{ "UFFDIO_ZEROPAGE fills holes with zeros, and stops before a page", zero_pages },
		{ "UFFDIO_CONTINUE maps what the file has, and stops before holes and pages",
		  continues_what_the_file_has },
		{ "UFFDIO_COPY beyond the end of the file is EFAULT and takes no page",
		  not_beyond_the_file },
		{ "UFFDIO_COPY beyond the size of a tmpfs is ENOMEM and takes no page",
		  not_beyond_the_mount },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };

	kind = memory_kind(argc, argv);
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.arguments = arguments,
		.pages = kind == HUGETLB ? UNITS : 0,
	});
}
