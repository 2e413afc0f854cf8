// SPDX-License-Identifier: GPL-2.0-only
/*
 * What reclaim leaves of each memory that a guest can have, by MADV_PAGEOUT and by a
 * cgroup whose memory.high falls to half of what it uses. Needs swap: an area that is in
 * use, or the kernel's RAM disk.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/swap.h>
#include <linux/fs.h>
#include <unistd.h>

#include "hgm_probe.h"

#define DISK "/dev/ram0"
#define SWAPS "/proc/swaps"

static const char *reclaimer; /* what the memory is reclaimed by */
static enum backing backing;

/* ---- swap ---------------------------------------------------------------- */

static bool is_swapping(void)
{
	FILE *swaps = fopen(SWAPS, "re");
	char line[256];
	bool found;

	if (!swaps)
		probe_skip(SWAPS ": %s", error_name(errno));
	found = fgets(line, sizeof(line), swaps) && fgets(line, sizeof(line), swaps);
	fclose(swaps);
	return found;
}

/* The header of a swap area as mkswap(8) writes it: include/linux/swap.h, union swap_header. */
static void make_swap_area(void)
{
	static union {
		struct {
			char boot[1024];
			uint32_t version, last_page;
		} info;
		char page[BASE_PAGE];
	} header;
	int disk = open(DISK, O_WRONLY | O_CLOEXEC);
	uint64_t bytes;

	if (disk < 0)
		probe_skip(DISK ": %s", error_name(errno));
	assert_errno(ioctl(disk, BLKGETSIZE64, &bytes), 0);
	header.info.version = 1;
	header.info.last_page = (uint32_t)(bytes / BASE_PAGE - 1);
	memcpy(header.page + BASE_PAGE - 10, "SWAPSPACE2", 10);
	assert_bytes(write(disk, header.page, BASE_PAGE), BASE_PAGE);
	assert_errno(fsync(disk), 0);
	close(disk);
	assert_errno(swapon(DISK, 0), 0);
}

static void leave_swap(void)
{
	swapoff(DISK);
}

static void with_swap(void (*run)(void))
{
	if (is_swapping()) {
		run();
		return;
	}
	make_swap_area();
	run_then(run, leave_swap);
}

/* ---- memory and what is left of it ----------------------------------------- */

static void fill(char *start, size_t length)
{
	for (size_t offset = 0; offset < length; offset += BASE_PAGE)
		*(volatile uint64_t *)(start + offset) = offset + 1;
}

static void check(const char *start, size_t length)
{
	for (size_t offset = 0; offset < length; offset += BASE_PAGE) {
		uint64_t seen = *(const volatile uint64_t *)(start + offset);

		assert_that(seen == offset + 1, "page %zu has %#llx after reclaim, and had %#zx",
			    offset / BASE_PAGE, (unsigned long long)seen, offset + 1);
	}
}

static size_t mapped_by_huge_pages(const char *start)
{
	if (backing_is_hugetlb(backing))
		return (size_t)(smaps_bytes(start, "Shared_Hugetlb") +
				smaps_bytes(start, "Private_Hugetlb"));
	return (size_t)smaps_bytes(start, backing_thp_field(backing));
}

/* ---- reclaim: returns what the kernel answered ---------------------------- */

static int page_out(char *start, size_t length)
{
	return advise(start, length, MADV_PAGEOUT);
}

static int squeeze(char *start, size_t length)
{
	(void)start;
	assert_that(file_number(group_path("memory.current")) > 0, "memory.current is 0");
	write_number(group_path("memory.high"), (long)(length / 2));
	assert_written(group_path("memory.high"), "max");
	return 0;
}

static int (*reclaim)(char *start, size_t length);

static void reclaim_backing(void)
{
	size_t length = backing_length(backing), pages = length / BASE_PAGE, left, huge;
	bool keeps = backing_is_hugetlb(backing) || backing == BACKING_THP_LOCKED;
	int fd, error;
	char *start;

	if (!backing_is_hugetlb(backing) && huge_size() != PMD_PAGE)
		probe_skip("transparent huge pages have %s", size_name(PMD_PAGE));
	start = backing_make(backing, &fd);
	if (backing == BACKING_SPLIT)
		split(start, length);
	fill(start, length);
	assert_resident(start, pages, pages);
	error = reclaim(start, length);
	left = mincore_present(start, pages);
	huge = mapped_by_huge_pages(start);
	check(start, length);
	probe_note("reclaimed: backing=%s size=%zu by=%s error=%s memory=%zu resident=%zu huge=%zu "
		   "read=%zu", backing_name(backing), huge_size(), reclaimer, error_name(error),
		   length, left * BASE_PAGE, huge, mapped_by_huge_pages(start));
	if (keeps)
		assert_that(left == pages, "%zu of %zu pages are resident", left, pages);
	else
		assert_that(left < pages, "nothing was reclaimed");
	if (backing_is_hugetlb(backing))
		assert_that(huge == length, "%zu of %zu bytes are huge pages", huge, length);
}

static void run_page_out(void)
{
	reclaimer = "MADV_PAGEOUT";
	reclaim = page_out;
	with_swap(reclaim_backing);
}

static void run_in_group(void)
{
	in_memory_group(reclaim_backing);
}

static void run_squeeze(void)
{
	reclaimer = "memory.high";
	reclaim = squeeze;
	with_swap(run_in_group);
}

static void of(enum backing which, void (*run)(void))
{
	int error = which == BACKING_SPLIT ? hgm_error() : 0;

	if (error)
		probe_skip("MADV_SPLIT: %s", error_name(error));
	backing = which;
	run();
}

static void huge_paged_out(void) { of(BACKING_HUGE, run_page_out); }
static void huge_squeezed(void) { of(BACKING_HUGE, run_squeeze); }
static void split_paged_out(void) { of(BACKING_SPLIT, run_page_out); }
static void split_squeezed(void) { of(BACKING_SPLIT, run_squeeze); }
static void shmem_paged_out(void) { of(BACKING_SHMEM, run_page_out); }
static void shmem_squeezed(void) { of(BACKING_SHMEM, run_squeeze); }
static void thp_paged_out(void) { of(BACKING_THP, run_page_out); }
static void thp_squeezed(void) { of(BACKING_THP, run_squeeze); }
static void anonymous_paged_out(void) { of(BACKING_ANONYMOUS, run_page_out); }
static void anonymous_squeezed(void) { of(BACKING_ANONYMOUS, run_squeeze); }
static void locked_paged_out(void) { of(BACKING_THP_LOCKED, run_page_out); }
static void locked_squeezed(void) { of(BACKING_THP_LOCKED, run_squeeze); }

static void set_up(void)
{
	probe_harms("swaps to " DISK);
	is_swapping();
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_PAGEOUT leaves hugetlb resident and huge", huge_paged_out },
		{ "a cgroup over memory.high leaves hugetlb resident and huge", huge_squeezed },
		{ "MADV_PAGEOUT leaves split hugetlb resident and huge", split_paged_out },
		{ "a cgroup over memory.high leaves split hugetlb resident and huge", split_squeezed },
		{ "MADV_PAGEOUT swaps pages of shmem out, and they come back", shmem_paged_out },
		{ "a cgroup over memory.high swaps pages of shmem out, and they come back",
		  shmem_squeezed },
		{ "MADV_PAGEOUT swaps transparent huge pages of shmem out, and they come back",
		  thp_paged_out },
		{ "a cgroup over memory.high swaps transparent huge pages of shmem out, and they come back",
		  thp_squeezed },
		{ "MADV_PAGEOUT swaps anonymous transparent huge pages out, and they come back",
		  anonymous_paged_out },
		{ "a cgroup over memory.high swaps anonymous transparent huge pages out, and they come back",
		  anonymous_squeezed },
		{ "MADV_PAGEOUT leaves transparent huge pages of shmem under mlock resident",
		  locked_paged_out },
		{ "a cgroup over memory.high leaves transparent huge pages of shmem under mlock resident",
		  locked_squeezed },
	};
	struct probe probe = workload_probe(BACKING_HUGE, 1);

	probe.tests = tests;
	probe.count = COUNT_OF(tests);
	probe.setup = set_up;
	return probe_main(argc, argv, &probe);
}
