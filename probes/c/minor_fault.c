// SPDX-License-Identifier: GPL-2.0-only
/* A minor fault on an unsplit huge page, answered by a continue of the whole page. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* A fresh mapping, in minor mode; UFFD takes the descriptor. */
static char *map_registered(int file, uint64_t features, int *uffd)
{
	char *start = map_shared(file, huge_size(), UNRESERVED);

	*uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | features);
	uffd_register(*uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MINOR);
	return start;
}

static void fault_is_answered(void)
{
	int uffd;
	char *primary = map_registered(fd, 0, &uffd);
	struct touch touch;

	touch_start(&touch, primary + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, primary, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	touch_end(&touch);
	check_pages(primary, 0, huge_pages(), FILLING);
	assert_no_fault(uffd);
}

static void write_fault_is_answered(void)
{
	int uffd;
	char *primary = map_registered(fd, 0, &uffd);
	struct touch touch;

	touch_start(&touch, primary + 64, TOUCH_WRITE);
	assert_fault(uffd, primary, UFFD_PAGEFAULT_FLAG_MINOR | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	touch_end(&touch);
}

static void exact_address(void)
{
	int uffd;
	char *primary = map_registered(fd, UFFD_FEATURE_EXACT_ADDRESS, &uffd);
	char *touched = primary + 5 * BASE_PAGE + 0x128;
	struct touch touch;

	touch_start(&touch, touched, TOUCH_READ);
	assert_fault(uffd, touched, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	touch_end(&touch);
}

static void mapped_twice(void)
{
	int uffd;
	char *primary = map_registered(fd, 0, &uffd);

	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	assert_continue(uffd, primary, huge_size(), EEXIST, -EEXIST);
}

static void nothing_to_map(void)
{
	int uffd;
	char *primary = map_registered(huge_memfd(1), 0, &uffd);

	assert_continue(uffd, primary, huge_size(), EFAULT, -EFAULT);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a minor fault of a read reports the huge page's address; UFFDIO_CONTINUE ends it",
		  fault_is_answered },
		{ "a minor fault of a write has UFFD_PAGEFAULT_FLAG_WRITE; UFFDIO_CONTINUE ends it",
		  write_fault_is_answered },
		{ "with UFFD_FEATURE_EXACT_ADDRESS a minor fault reports the accessed address",
		  exact_address },
		{ "UFFDIO_CONTINUE of a mapped huge page is EEXIST", mapped_twice },
		{ "UFFDIO_CONTINUE of a hole in the file is EFAULT", nothing_to_map },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.setup = fill_file,
	});
}
