// SPDX-License-Identifier: GPL-2.0-only
/* A process that exits or is killed with a split mapping leaks nothing. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

/* What the process has done when it ends. */
static void half_filled(char *primary, int uffd)
{
	assert_continue(uffd, primary, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	if (huge_size() == PUD_PAGE)
		assert_continue(uffd, primary + PMD_PAGE, PMD_PAGE, 0, PMD_PAGE);
}

static void with_marks(char *primary, int uffd)
{
	half_filled(primary, uffd);
	if (wp_unit() > BASE_PAGE) {
		assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
		return;
	}
	assert_error(uffd_protect(uffd, primary, 8 * BASE_PAGE, true), 0);
	assert_error(uffd_protect(uffd, primary + huge_size() - BASE_PAGE, BASE_PAGE, true), 0);
}

static void collapsed(char *primary, int uffd)
{
	half_filled(primary, uffd);
	collapse(primary, huge_size());
	assert_error(uffd_protect(uffd, wp_unit() == BASE_PAGE ? primary + BASE_PAGE : primary,
				  wp_unit(), true), 0);
}

/* One thread is blocked in a minor fault, another in a write-protect fault. */
static void with_blocked_threads(char *primary, int uffd)
{
	static struct touch hole, held;

	with_marks(primary, uffd);
	touch_start(&hole, primary + 20 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, primary + 20 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	touch_start(&held, primary + BASE_PAGE, TOUCH_WRITE);
	assert_fault(uffd, wp_address(primary + BASE_PAGE),
		     UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
}

static void (*scenario)(char *primary, int uffd);
static bool is_killed;

static void run_scenario(void)
{
	int uffd;
	char *primary = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP,
				  &uffd);

	scenario(primary, uffd);
	if (is_killed)
		kill(getpid(), SIGKILL);
}

static void run(void (*what)(char *primary, int uffd))
{
	struct pool before = pool_now();
	int64_t tables = meminfo_bytes("PageTables");
	pid_t child;
	int status;

	scenario = what;
	for (size_t round = 0; round < 4; round++) {
		is_killed = round % 2;
		child = child_start(run_scenario);
		if (is_killed)
			assert_that(waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
				    WTERMSIG(status) == SIGKILL,
				    "the process ended with status %#x, expected SIGKILL", status);
		else
			child_end(child);
	}
	assert_pool(&before, 0, 0, "afterwards");
	/* Each process had three tables or more; ten pages are allowed for other processes. */
	assert_that(meminfo_bytes("PageTables") - tables <= 10 * (int64_t)BASE_PAGE,
		    "PageTables in meminfo is %s higher after four processes ended, expected at "
		    "most %s", size_text(meminfo_bytes("PageTables") - tables),
		    size_text(10 * BASE_PAGE));
	check_pages(map_shared(fd, huge_size(), UNRESERVED), 0, 1, FILLING);
}

static void while_half_filled(void)
{
	run(half_filled);
}

static void while_protected(void)
{
	run(with_marks);
}

static void while_collapsed(void)
{
	run(collapsed);
}

static void while_threads_are_blocked(void)
{
	run(with_blocked_threads);
}

/* The file is closed before, so that the mapping is the last user of the huge page. */
static void last_user(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(512, FILLING), kept = fd;

	fd = own;
	scenario = with_marks;
	is_killed = true;
	assert_errno(waitpid(child_start(run_scenario), NULL, 0), 0);
	close(own);
	assert_pool(&before, 0, 0, "afterwards");
	fd = kept;
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a process that exits with a partly mapped huge page leaks nothing",
		  while_half_filled },
		{ "a process that exits with write-protected base pages and holes leaks nothing",
		  while_protected },
		{ "a process that exits with a write-protected page after MADV_COLLAPSE leaks nothing",
		  while_collapsed },
		{ "a process that exits with threads blocked in userfaultfd faults leaks nothing",
		  while_threads_are_blocked },
		{ "killing the last process that maps a split huge page returns it to the pool",
		  last_user },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES) | PROMISE(WP_ADDRESS),
		.setup = fill_file,
	});
}
