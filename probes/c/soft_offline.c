// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is taken out of use before it fails (MADV_SOFT_OFFLINE), and an error
 * in a page that nobody uses: the huge page is dissolved, so that one base page is
 * lost, and data is where it was. The pool loses a huge page for good.
 */
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define BAD 3UL
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#define SWITCH "/proc/sys/vm/enable_soft_offline"

static uint64_t frame_of(char *page)
{
	uint64_t frame = pagemap_entry(page) & PAGEMAP_FRAME;

	if (!frame)
		probe_skip("pagemap shows no frame numbers");
	return frame;
}

static int64_t corrupted(void)
{
	return meminfo_bytes("HardwareCorrupted");
}

static void assert_lost(int64_t before, size_t pages)
{
	assert_that(corrupted() == before + (int64_t)(pages * BASE_PAGE),
		    "HardwareCorrupted: expected %s more, got %s more",
		    size_text((int64_t)(pages * BASE_PAGE)), size_text(corrupted() - before));
}

/* The pool, of which TAKEN pages are in use, has lost COUNT pages of those that were free. */
static void assert_dissolved(const struct pool *before, long taken, long count)
{
	struct pool now = pool_now();

	assert_that(now.total == before->total - count && now.free == before->free - taken - count &&
		    now.surplus == before->surplus && now.reserved == before->reserved,
		    "the pool: %+ld huge pages in total, %+ld free, %+ld reserved, %+ld surplus, "
		    "expected %+ld, %+ld, 0, 0", now.total - before->total,
		    now.free - before->free, now.reserved - before->reserved,
		    now.surplus - before->surplus, -count, -taken - count);
}

static void offline(char *page)
{
	assert_error(advise(page, BASE_PAGE, MADV_SOFT_OFFLINE), 0);
}

static void shared_page(void)
{
	struct pool before = pool_now();
	int64_t lost = corrupted();
	int fd = filled_memfd(1, FILLING);
	char *start = map_shared(fd, huge_size(), UNRESERVED);
	char *other = map_shared(fd, huge_size(), UNRESERVED);
	uint64_t frame;

	check_pages(start, 0, huge_pages(), FILLING);
	frame = frame_of(start);
	offline(start + BAD * BASE_PAGE);
	check_pages(start, 0, huge_pages(), FILLING);
	check_pages(other, 0, huge_pages(), FILLING);
	assert_that(frame_of(start) != frame && frame_of(other) == frame_of(start),
		    "the file still has the frame that was taken out of use");
	*(volatile char *)(start + 8) = 1;
	assert_that(*(volatile char *)(other + 8) == 1, "the two mappings show different pages");
	assert_lost(lost, 1);
	assert_dissolved(&before, 1, 1);
	unmap(start, huge_size());
	unmap(other, huge_size());
	close(fd);
	assert_dissolved(&before, 0, 1);
}

static void private_page(void)
{
	struct pool before = pool_now();
	int64_t lost = corrupted();
	char *start = map_private_huge(RESERVED);

	fill_pages(start, 0, huge_pages(), FILLING);
	offline(start + BAD * BASE_PAGE);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_lost(lost, 1);
	assert_dissolved(&before, 1, 1);
	unmap(start, huge_size());
	assert_dissolved(&before, 0, 1);
}

/* Without a free page a new one is made, so the pool is as large as before. */
static void without_free_page(void)
{
	struct pool before = pool_now();
	int64_t lost = corrupted();
	char *start = map_private_huge(RESERVED), *others;
	size_t rest = (size_t)(before.free - before.reserved - 1);
	int error;

	fill_pages(start, 0, huge_pages(), FILLING);
	others = map_private_huges(rest, RESERVED);
	error = advise(start + BAD * BASE_PAGE, BASE_PAGE, MADV_SOFT_OFFLINE);
	/* The old page is then given back later, by a worker that first restores its memory map. */
	assert_that(error != EBUSY || !frees_memory_map(),
		    "with hugetlb_free_vmemmap=on: expected success, got EBUSY");
	assert_error(error, 0);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_lost(lost, 1);
	assert_pool(&before, -1, (long)rest, "after a page was taken out of use");
	unmap(others, rest * huge_size());
	unmap(start, huge_size());
	assert_pool(&before, 0, 0, "after munmap");
}

static void switched_off(void)
{
	struct pool before = pool_now();
	int64_t lost = corrupted();
	char *start = map_private_huge(RESERVED);
	int error;

	fill_pages(start, 0, huge_pages(), FILLING);
	write_number(SWITCH, 0);
	error = advise(start, BASE_PAGE, MADV_SOFT_OFFLINE);
	write_number(SWITCH, 1);
	assert_error(error, EOPNOTSUPP);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_lost(lost, 0);
	assert_pool(&before, -1, 0, "after MADV_SOFT_OFFLINE that is switched off");
}

/* A device may write to a pinned page, so it stays. */
static void pinned_page(void)
{
	struct io_uring_params parameters = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &parameters), error;
	struct pool before = pool_now();
	int64_t lost = corrupted();
	char *start = map_private_huge(RESERVED);
	struct iovec part = { start, BASE_PAGE };
	uint64_t frame;

	if (ring < 0)
		probe_skip("io_uring_setup: %s", error_name(errno));
	fill_pages(start, 0, huge_pages(), FILLING);
	frame = frame_of(start);
	assert_errno(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1), 0);
	error = advise(start + BAD * BASE_PAGE, BASE_PAGE, MADV_SOFT_OFFLINE);
	assert_that(error == EBUSY || error == EIO,
		    "MADV_SOFT_OFFLINE of a pinned page: expected EBUSY or EIO, got %s",
		    error_name(error));
	assert_that(frame_of(start) == frame, "the pinned page was moved");
	check_pages(start, 0, huge_pages(), FILLING);
	assert_lost(lost, 0);
	assert_errno(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	unmap(start, huge_size());
	assert_pool(&before, 0, 0, "after the pin and the mapping have gone");
}

/* An error in a page of the pool: the rest of the huge page can be used as ordinary memory. */
static void free_page(void)
{
	struct pool before = pool_now();
	int64_t lost = corrupted();
	char *start = map_private_huge(RESERVED);
	uint64_t frame;
	int error;

	*(volatile char *)start = 1;
	frame = frame_of(start);
	unmap(start, huge_size());
	error = poison_frame(frame + BAD);
	assert_that(error == 0, "hwpoison/corrupt-pfn: %s", error_name(error));
	assert_lost(lost, 1);
	assert_dissolved(&before, 0, 1);
}

static void set_up(void)
{
	probe_harms("takes memory out of use for good");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SOFT_OFFLINE moves a shared huge page and dissolves the old one", shared_page },
		{ "MADV_SOFT_OFFLINE moves a private huge page and dissolves the old one", private_page },
		{ "MADV_SOFT_OFFLINE without a free huge page makes one", without_free_page },
		{ "MADV_SOFT_OFFLINE that vm.enable_soft_offline forbids is EOPNOTSUPP", switched_off },
		{ "MADV_SOFT_OFFLINE of a pinned huge page is refused and leaves it", pinned_page },
		{ "a memory error in a free huge page dissolves it", free_page },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 6,
		.setup = set_up,
	});
}
