// SPDX-License-Identifier: GPL-2.0-only
/* A huge page beside a split one is still served as a whole. */
#include "hgm_probe.h"

#define FILLING 1
#define STRIDE 8

static int fd;

static void fill_file(void)
{
	fd = filled_memfd_of(2, STRIDE, FILLING);
}

/* Two huge pages in both modes, the second of them split. */
static char *map_half_split(int *uffd)
{
	char *start = map_shared(fd, 2 * huge_size(), UNRESERVED);

	*uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	split(start + huge_size(), huge_size());
	uffd_register(*uffd, start, 2 * huge_size(),
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
	return start;
}

static void parts_are_refused(void)
{
	int uffd;
	char *start = map_half_split(&uffd);

	assert_continue(uffd, start, BASE_PAGE, EINVAL, -EINVAL);
	assert_continue(uffd, start + huge_size() - BASE_PAGE, BASE_PAGE, EINVAL, -EINVAL);
	assert_error(uffd_protect(uffd, start, BASE_PAGE, true), EINVAL);
	assert_mapped(start, 0, 0, 0);
	assert_continue(uffd, start, huge_size(), 0, huge_size());
	assert_whole(start, huge_size());
	check_pages(start, 0, 1, FILLING);
}

static void split_one_takes_parts(void)
{
	int uffd;
	char *start = map_half_split(&uffd);
	size_t page = huge_pages() + STRIDE;

	assert_continue(uffd, start + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_pages(start, page, 1, FILLING);
	assert_mapped(start + huge_size(), 0, 0, BASE_PAGE);
	assert_mapped(start, 0, 0, 0);
}

/* MADV_SPLIT has split the VMA, and an ioctl works on one VMA. */
static void across_the_boundary(void)
{
	int uffd;
	char *start = map_half_split(&uffd);

	assert_continue(uffd, start, 2 * huge_size(), ENOENT, -ENOENT);
	assert_continue(uffd, start + huge_size() - BASE_PAGE, 2 * BASE_PAGE, ENOENT, -ENOENT);
	assert_present(start, 2 * huge_pages(), 0);
}

static void fault_addresses(void)
{
	int uffd;
	char *start = map_half_split(&uffd);
	struct touch first, second;

	touch_start(&first, start + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_MINOR);
	touch_start(&second, start + huge_size() + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, start + huge_size() + 5 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, start, huge_size(), 0, huge_size());
	assert_continue(uffd, start + huge_size(), huge_size(), 0, huge_size());
	touch_end(&first);
	touch_end(&second);
}

/* Whether the VMAs are merged again is up to the kernel. */
static void both_split(void)
{
	int uffd;
	char *start = map_half_split(&uffd);

	split(start, huge_size());
	assert_continue(uffd, start + huge_size() - BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, start + huge_size(), BASE_PAGE, 0, BASE_PAGE);
	assert_mapped(start, 0, 0, BASE_PAGE);
	check_pages(start, huge_pages(), 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of part of an unsplit neighbour is EINVAL, of all of it succeeds",
		  parts_are_refused },
		{ "UFFDIO_CONTINUE of 4 KiB of a split huge page maps nothing of its neighbour",
		  split_one_takes_parts },
		{ "UFFDIO_CONTINUE across a split and an unsplit huge page is ENOENT and maps nothing",
		  across_the_boundary },
		{ "faults report the base page in a split huge page, the huge page in its neighbour",
		  fault_addresses },
		{ "after MADV_SPLIT of both neighbours UFFDIO_CONTINUE of 4 KiB succeeds in each",
		  both_split },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
