// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors in several base pages of one huge page: the first by
 * MADV_HWPOISON, which unmaps the huge page, the others by their frames. The
 * kernel keeps a list of them, by which read() of the file tells good from bad.
 * The pool loses the huge page for good.
 */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd, advice;
static char *start;

static void advise_poison(void *page)
{
	advice = advise(page, BASE_PAGE, MADV_HWPOISON);
}

static int64_t corrupted(void)
{
	return meminfo_bytes("HardwareCorrupted");
}

static void assert_readable(size_t page)
{
	char copy[BASE_PAGE];
	ssize_t got = pread(fd, copy, sizeof(copy), (off_t)(page * BASE_PAGE));

	assert_that(got == (ssize_t)sizeof(copy),
		    "pread of page %zu: %s, expected its contents", page,
		    got < 0 ? error_name(errno) : size_text(got));
	check_copy(copy, page, 1, FILLING);
}

static void assert_unreadable(size_t page)
{
	char copy[BASE_PAGE];
	ssize_t got = pread(fd, copy, sizeof(copy), (off_t)(page * BASE_PAGE));

	assert_that(got < 0 && errno == EIO, "pread of poisoned page %zu: %s, expected EIO", page,
		    got < 0 ? error_name(errno) : size_text(got));
}

/* The frame's huge page is poisoned already, which may be an error: it must be in the list then. */
static void poison_one_more(uint64_t frame)
{
	int error = poison_frame(frame);

	assert_that(error == 0 || error == EHWPOISON,
		    "hwpoison/corrupt-pfn: %s, expected success or EHWPOISON", error_name(error));
}

static void several(void)
{
	const size_t bad[] = { 3, 7, 8, huge_pages() - 1 };
	struct pool before = pool_now();
	int64_t lost = corrupted();
	uint64_t frame;
	char one;

	probe_harms("poisons memory");
	fd = huge_memfd(1);
	start = map_shared(fd, huge_size(), RESERVED);
	fill_pages(start, 0, huge_pages(), FILLING);
	frame = pagemap_entry(start) & PAGEMAP_FRAME;
	/* It counts as an access of the caller, which may get SIGBUS for it. */
	signal_of(advise_poison, start + bad[0] * BASE_PAGE);
	if (advice)
		probe_skip("MADV_HWPOISON: %s", error_name(advice));
	assert_signal(start, TOUCH_READ, SIGBUS);
	if (pread(fd, &one, 1, 0) < 0)
		probe_skip("pread of a good page beside a poisoned one: %s", error_name(errno));
	for (size_t i = 1; i < COUNT_OF(bad); i++)
		poison_one_more(frame + bad[i]);
	poison_one_more(frame + bad[1]);
	assert_that(corrupted() - lost == (int64_t)(COUNT_OF(bad) * BASE_PAGE),
		    "HardwareCorrupted in meminfo grew by %s, expected %s",
		    size_text(corrupted() - lost), size_text(COUNT_OF(bad) * BASE_PAGE));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_unreadable(bad[i]);
	for (size_t page = 0; page < 12; page++)
		if (page != bad[0] && page != bad[1] && page != bad[2])
			assert_readable(page);
	assert_readable(huge_pages() - 2);
	assert_signal(start, TOUCH_READ, SIGBUS);
	unmap(start, huge_size());
	close(fd);
	assert_that(pool_now().free < before.free,
		    "the pool has %ld free huge pages, expected less than the %ld before",
		    pool_now().free, before.free);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "read of a huge page with several poisoned base pages gives the others only",
		  several },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
