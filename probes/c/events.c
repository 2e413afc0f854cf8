// SPDX-License-Identifier: GPL-2.0-only
/* Non-cooperative events of a split mapping: fork, mremap, MADV_REMOVE, MADV_DONTNEED, munmap. */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd, uffd;
static char *primary;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

/* Threads for the system calls, each of which returns only when its event was read. */
static void *call_munmap(void *unused)
{
	(void)unused;
	unmap(primary, huge_size());
	return NULL;
}

static void *call_dontneed(void *unused)
{
	(void)unused;
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	return NULL;
}

static void *call_mremap(void *to)
{
	void *moved = mremap(primary, huge_size(), huge_size(), MREMAP_MAYMOVE | MREMAP_FIXED, to);

	assert_that(moved == to, "mremap: %s", error_name(errno));
	return NULL;
}

static void *call_remove(void *unused)
{
	(void)unused;
	assert_error(advise(primary, huge_size(), MADV_REMOVE), 0);
	return NULL;
}

static void check_page(void)
{
	check_pages(primary, 0, 1, FILLING);
}

static void *call_fork(void *unused)
{
	(void)unused;
	child_end(child_start(check_page)); /* PR_SET_PDEATHSIG is per thread */
	return NULL;
}

static void fork_event(void)
{
	struct uffd_msg message;
	struct touch touch;
	pthread_t thread;
	int child_uffd;

	primary = map_split(fd, UFFD_FEATURE_EVENT_FORK, 0, &uffd);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	assert_error(pthread_create(&thread, NULL, call_fork, NULL), 0);
	message = uffd_next_event(uffd, UFFD_EVENT_FORK);
	child_uffd = (int)message.arg.fork.ufd;
	/* The child's fault is reported to the child's userfaultfd. */
	assert_fault(child_uffd, primary, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(child_uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	pthread_join(thread, NULL);
	assert_mapped(primary, 0, 0, BASE_PAGE);
	/* The parent's userfaultfd works as before. */
	touch_start(&touch, primary + BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, primary + BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, primary + BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
}

/* The registration moves as well: faults are reported at the new address. */
static void remap_event(void)
{
	char *to = map_shared(fd, huge_size(), UNRESERVED);
	struct uffd_msg message;
	struct touch touch;

	primary = map_split(fd, UFFD_FEATURE_EVENT_REMAP, 0, &uffd);
	assert_continue(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	message = uffd_event_of(uffd, UFFD_EVENT_REMAP, call_mremap, to);
	assert_event_remap(&message, primary, to, huge_size());
	assert_mapped(to, 0, 0, BASE_PAGE);
	touch_start(&touch, to + 5 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, to + 5 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, to + 5 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
}

static void unmap_event(void)
{
	struct uffd_msg message;

	primary = map_split(fd, UFFD_FEATURE_EVENT_UNMAP, 0, &uffd);
	assert_continue(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	message = uffd_event_of(uffd, UFFD_EVENT_UNMAP, call_munmap, NULL);
	assert_event_range(&message, primary, huge_size());
	assert_signal(primary + 3 * BASE_PAGE, TOUCH_READ, SIGSEGV);
}

static void dontneed_event(void)
{
	struct uffd_msg message;

	primary = map_split(fd, UFFD_FEATURE_EVENT_REMOVE, 0, &uffd);
	assert_continue(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	message = uffd_event_of(uffd, UFFD_EVENT_REMOVE, call_dontneed, NULL);
	assert_event_range(&message, primary, huge_size());
	assert_mapped(primary, 0, 0, 0);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	check_pages(primary, 0, 1, FILLING);
}

static void remove_event(void)
{
	struct uffd_msg message;

	primary = map_split(fd, UFFD_FEATURE_EVENT_REMOVE, 0, &uffd);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	message = uffd_event_of(uffd, UFFD_EVENT_REMOVE, call_remove, NULL);
	assert_event_range(&message, primary, huge_size());
	assert_continue(uffd, primary, BASE_PAGE, EFAULT, -EFAULT);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFD_EVENT_FORK gives a userfaultfd that continues base pages of the child",
		  fork_event },
		{ "UFFD_EVENT_REMAP: the registration and the 4 KiB entries move with mremap",
		  remap_event },
		{ "UFFD_EVENT_UNMAP carries the range of munmap", unmap_event },
		{ "UFFD_EVENT_REMOVE of MADV_DONTNEED carries its range; the file keeps its page",
		  dontneed_event },
		{ "UFFD_EVENT_REMOVE of MADV_REMOVE carries its range; the file loses its page",
		  remove_event },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
