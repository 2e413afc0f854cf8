// SPDX-License-Identifier: GPL-2.0-only
/* After MADV_SPLIT a fault message carries the base page's address. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Reads byte OFFSET of PAGE; the message must carry the address of byte SEEN. */
static void fault_at(int uffd, char *primary, size_t page, size_t offset, size_t seen)
{
	char *start = primary + page * BASE_PAGE;
	struct touch touch;

	touch_start(&touch, start + offset, TOUCH_READ);
	assert_fault(uffd, start + seen, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
	check_pages(primary, page, 1, FILLING);
}

static void base_page(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	fault_at(uffd, primary, 5, 0x128, 0);
	fault_at(uffd, primary, huge_pages() / 2, 0xff8, 0);
	fault_at(uffd, primary, huge_pages() - 1, 0, 0);
}

static void exact(void)
{
	int uffd;
	char *primary = map_split(fd, UFFD_FEATURE_EXACT_ADDRESS, 0, &uffd);

	fault_at(uffd, primary, 5, 0x128, 0x128);
	fault_at(uffd, primary, huge_pages() - 1, 0xff8, 0xff8);
}

static void write_fault(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	struct touch touch;

	touch_start(&touch, primary + 6 * BASE_PAGE + 0x40, TOUCH_WRITE);
	assert_fault(uffd, primary + 6 * BASE_PAGE,
		     UFFD_PAGEFAULT_FLAG_MINOR | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_continue(uffd, primary + 6 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a minor fault in a split mapping reports the address of the base page",
		  base_page },
		{ "with UFFD_FEATURE_EXACT_ADDRESS a minor fault reports the accessed address",
		  exact },
		{ "a write fault in a split mapping has UFFD_PAGEFAULT_FLAG_WRITE", write_fault },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
