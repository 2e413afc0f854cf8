// SPDX-License-Identifier: GPL-2.0-only
/* Threads blocked in minor faults are woken for their own base page only. */
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

static void hold(struct touch *touch, int uffd, char *page)
{
	touch_start(touch, page, TOUCH_READ);
	assert_fault(uffd, page, UFFD_PAGEFAULT_FLAG_MINOR);
}

static void own_page_only(void)
{
	struct touch first, second;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	hold(&first, uffd, primary + 5 * BASE_PAGE);
	hold(&second, uffd, primary + 6 * BASE_PAGE);
	assert_continue(uffd, primary + 7 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_that(touch_is_blocked(&first) && touch_is_blocked(&second),
		    "UFFDIO_CONTINUE of page 7 woke a reader of page 5 or 6");
	assert_no_fault(uffd);
	assert_continue(uffd, primary + 5 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&first);
	assert_that(touch_is_blocked(&second), "UFFDIO_CONTINUE of page 5 woke the reader of page 6");
	assert_no_fault(uffd);
	assert_continue(uffd, primary + 6 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&second);
	assert_no_fault(uffd);
}

static void range_wakes_all(void)
{
	struct touch touches[8];
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	for (size_t i = 0; i < COUNT_OF(touches); i++)
		hold(&touches[i], uffd, primary + (3 + 5 * i) * BASE_PAGE);
	assert_continue(uffd, primary, 64 * BASE_PAGE, 0, 64 * BASE_PAGE);
	for (size_t i = 0; i < COUNT_OF(touches); i++)
		touch_end(&touches[i]);
	assert_no_fault(uffd);
}

static void explicit_wake(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *page = primary + 9 * BASE_PAGE;

	hold(&touch, uffd, page);
	assert_that(touch_is_blocked(&touch), "the reader does not wait");
	assert_result(uffd_continue_mode(uffd, page, BASE_PAGE, UFFDIO_CONTINUE_MODE_DONTWAKE), 0,
		      BASE_PAGE);
	assert_that(touch_is_blocked(&touch), "UFFDIO_CONTINUE_MODE_DONTWAKE woke the reader");
	assert_error(uffd_wake(uffd, page - BASE_PAGE, BASE_PAGE), 0);
	assert_that(touch_is_blocked(&touch), "UFFDIO_WAKE of the page before woke the reader");
	assert_error(uffd_wake(uffd, page, BASE_PAGE), 0);
	touch_end(&touch);
}

/* After close() the kernel maps the page itself. */
static void closing(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	hold(&touch, uffd, primary);
	close(uffd);
	touch_end(&touch);
	check_pages(primary, 0, 1, FILLING);
}

/* UFFDIO_UNREGISTER wakes threads of missing mode only. */
static void unregistering(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	hold(&touch, uffd, primary);
	assert_error(uffd_unregister(uffd, primary, huge_size()), 0);
	assert_error(uffd_wake(uffd, primary, huge_size()), 0);
	touch_end(&touch);
	check_pages(primary, 0, 1, FILLING);
	assert_no_fault(uffd);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of 4 KiB wakes only the reader blocked on that base page",
		  own_page_only },
		{ "UFFDIO_CONTINUE of 256 KiB wakes every reader blocked in that range",
		  range_wakes_all },
		{ "UFFDIO_WAKE of 4 KiB wakes only the reader blocked on that base page",
		  explicit_wake },
		{ "closing the userfaultfd lets a blocked reader continue", closing },
		{ "UFFDIO_UNREGISTER and UFFDIO_WAKE let a blocked reader continue",
		  unregistering },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
