// SPDX-License-Identifier: GPL-2.0-only
/*
 * While an event waits to be read, each request of a userfaultfd is EAGAIN, and
 * says in its result field that nothing was done; once it was read, all work.
 */
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "hgm_probe.h"

#define FILLING 1
#define UNTOUCHED 12345
#define EVENTS UFFD_FEATURE_EVENT_REMOVE

static char *start, *source;
static int uffd;

static void *drop(void *unused)
{
	(void)unused;
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	return NULL;
}

/* A file's page that is not mapped in START, which is registered; an event of MADV_DONTNEED waits. */
static void event_waits(uint64_t features, pthread_t *dropping)
{
	struct pollfd waiting = { .events = POLLIN };
	int fd = filled_memfd(512, FILLING);

	uffd = uffd_open(EVENTS | features | UFFD_FEATURE_MISSING_HUGETLBFS |
			 UFFD_FEATURE_MINOR_HUGETLBFS);
	start = map_shared(fd, huge_size(), UNRESERVED);
	uffd_register(uffd, start, huge_size(),
		      UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR);
	assert_error(pthread_create(dropping, NULL, drop, NULL), 0);
	waiting.fd = uffd;
	assert_that(poll(&waiting, 1, EVENT_MS) == 1, "no event of MADV_DONTNEED");
}

static void event_is_read(pthread_t dropping)
{
	uffd_next_event(uffd, UFFD_EVENT_REMOVE);
	pthread_join(dropping, NULL);
}

/* The request, whose result field lies at RESULT, must be EAGAIN with -EAGAIN in it. */
static void assert_again(const char *name, unsigned long request, void *argument, int64_t *result)
{
	int error;

	*result = UNTOUCHED;
	error = ioctl(uffd, request, argument) == 0 ? 0 : errno;
	assert_that(error == EAGAIN, "%s while an event waits: expected EAGAIN, got %s", name,
		    error_name(error));
	assert_that(*result == -EAGAIN,
		    "%s while an event waits: its result is %lld, expected %d (-EAGAIN)", name,
		    (long long)*result, -EAGAIN);
}

static void continue_again(void)
{
	struct uffdio_continue request;
	pthread_t dropping;

	event_waits(0, &dropping);
	request = (struct uffdio_continue){ .range = { (uintptr_t)start, huge_size() } };
	assert_again("UFFDIO_CONTINUE", UFFDIO_CONTINUE, &request, (int64_t *)&request.mapped);
	event_is_read(dropping);
	assert_continue(uffd, start, huge_size(), 0, (int64_t)huge_size());
	check_pages(start, 0, 1, FILLING);
}

static void copy_again(void)
{
	struct uffdio_copy request;
	pthread_t dropping;

	event_waits(0, &dropping);
	source = map_anonymous(huge_size(), 0);
	request = (struct uffdio_copy){
		.dst = (uintptr_t)start, .src = (uintptr_t)source, .len = huge_size(),
	};
	assert_again("UFFDIO_COPY", UFFDIO_COPY, &request, (int64_t *)&request.copy);
	event_is_read(dropping);
	/* The file has the page. */
	assert_result(uffd_copy(uffd, start, source, huge_size()), EEXIST, -EEXIST);
}

static void zeropage_again(void)
{
	struct uffdio_zeropage request;
	pthread_t dropping;

	event_waits(0, &dropping);
	request = (struct uffdio_zeropage){ .range = { (uintptr_t)start, huge_size() } };
	assert_again("UFFDIO_ZEROPAGE", UFFDIO_ZEROPAGE, &request, (int64_t *)&request.zeropage);
	event_is_read(dropping);
}

static void poison_again(void)
{
	struct uffdio_poison request;
	pthread_t dropping;

	event_waits(UFFD_FEATURE_POISON, &dropping);
	request = (struct uffdio_poison){ .range = { (uintptr_t)start, huge_size() } };
	assert_again("UFFDIO_POISON", UFFDIO_POISON, &request, (int64_t *)&request.updated);
	event_is_read(dropping);
	request.updated = UNTOUCHED;
	assert_errno(ioctl(uffd, UFFDIO_POISON, &request), 0);
	assert_that(request.updated == (int64_t)huge_size(), "UFFDIO_POISON: updated is %lld, expected %zu",
		    (long long)request.updated, huge_size());
	assert_signal(start, TOUCH_READ, SIGBUS);
}

static void move_again(void)
{
	struct uffdio_move request;
	pthread_t dropping;

	event_waits(UFFD_FEATURE_MOVE, &dropping);
	source = map_anonymous(huge_size(), 0);
	request = (struct uffdio_move){
		.dst = (uintptr_t)start, .src = (uintptr_t)source, .len = huge_size(),
	};
	assert_again("UFFDIO_MOVE", UFFDIO_MOVE, &request, (int64_t *)&request.move);
	event_is_read(dropping);
}

static void protect_again(void)
{
	pthread_t dropping;

	event_waits(0, &dropping);
	assert_error(uffd_protect(uffd, start, huge_size(), true), EAGAIN);
	event_is_read(dropping);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE while an event waits is EAGAIN, and mapped is -EAGAIN",
		  continue_again },
		{ "UFFDIO_COPY while an event waits is EAGAIN, and copy is -EAGAIN", copy_again },
		{ "UFFDIO_ZEROPAGE while an event waits is EAGAIN, and zeropage is -EAGAIN",
		  zeropage_again },
		{ "UFFDIO_POISON while an event waits is EAGAIN, and updated is -EAGAIN",
		  poison_again },
		{ "UFFDIO_MOVE while an event waits is EAGAIN, and move is -EAGAIN", move_again },
		{ "UFFDIO_WRITEPROTECT while an event waits is EAGAIN", protect_again },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
