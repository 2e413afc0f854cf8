// SPDX-License-Identifier: GPL-2.0-only
/* Many threads fault in one split huge page while one or several threads answer. */
#include <poll.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define READERS 8
#define PAGES 256UL /* that each reader reads */

static int fd;
static char *primary;
static int uffd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

struct reader {
	pthread_t thread;
	size_t first, step;
};

static void *read_pages(void *argument)
{
	const struct reader *reader = argument;

	for (size_t i = 0; i < PAGES; i++)
		check_pages(primary, (reader->first + i * reader->step) % huge_pages(), 1, FILLING);
	return NULL;
}

/* READERS threads, which start DISTANCE pages apart and go on by STEP pages. */
static void read_all(size_t distance, size_t step)
{
	struct reader readers[READERS];

	for (size_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .first = i * distance, .step = step };
		assert_error(pthread_create(&readers[i].thread, NULL, read_pages, &readers[i]), 0);
	}
	for (size_t i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
}

/* No two threads read the same page, unless they wrap around. */
static void one_server(void)
{
	static struct server server;

	primary = map_split(fd, 0, 0, &uffd);
	server_start(&server, uffd, BASE_PAGE);
	read_all(1, READERS);
	server_end(&server);
	if (huge_pages() < READERS * PAGES) /* they wrap around and share pages */
		assert_present(primary, huge_pages(), huge_pages());
	else
		assert_present(primary, READERS * PAGES, READERS * PAGES);
	assert_no_fault(uffd);
}

/*
 * Answers until the other end of STOP is closed. Of two answers to one page the
 * second gets EEXIST; its wake is for a reader that faulted in between.
 */
struct answerer {
	pthread_t thread;
	int stop;
	size_t answered;
};

static void *answer(void *argument)
{
	struct answerer *answerer = argument;
	struct pollfd waiting[] = {
		{ .fd = uffd, .events = POLLIN }, { .fd = answerer->stop, .events = POLLIN },
	};
	struct uffd_msg message;

	while (poll(waiting, COUNT_OF(waiting), -1) > 0 && !waiting[1].revents) {
		char *page;
		struct uffd_result result;

		if (read(uffd, &message, sizeof(message)) != sizeof(message))
			continue;
		page = (char *)(uintptr_t)message.arg.pagefault.address;
		result = uffd_continue(uffd, page, BASE_PAGE);
		if (result.error == EEXIST)
			uffd_wake(uffd, page, BASE_PAGE);
		else
			assert_error(result.error, 0);
		answerer->answered++;
	}
	return NULL;
}

/* All threads read the same pages, and four threads answer. */
static void four_servers(void)
{
	struct answerer answerers[4];
	size_t answered = 0;
	int stop[2];

	primary = map_split(fd, 0, 0, &uffd);
	assert_errno(pipe(stop), 0);
	for (size_t i = 0; i < COUNT_OF(answerers); i++) {
		answerers[i] = (struct answerer){ .stop = stop[0] };
		assert_error(pthread_create(&answerers[i].thread, NULL, answer, &answerers[i]), 0);
	}
	read_all(0, 1);
	close(stop[1]);
	for (size_t i = 0; i < COUNT_OF(answerers); i++) {
		pthread_join(answerers[i].thread, NULL);
		answered += answerers[i].answered;
	}
	assert_that(answered >= PAGES,
		    "%zu faults were answered, expected at least %zu", answered, PAGES);
	assert_present(primary, huge_pages(), PAGES);
	assert_mapped(primary, 0, 0, PAGES * BASE_PAGE);
}

/* One UFFDIO_CONTINUE answers all faults in its range. */
static void large_answers(void)
{
	static struct server server;

	primary = map_split(fd, 0, 0, &uffd);
	server_start(&server, uffd, huge_size() == PUD_PAGE ? PMD_PAGE : 16 * BASE_PAGE);
	read_all(huge_pages() / READERS, 1);
	/* Two threads may wait in one range: the second answer to it is EEXIST. */
	if (server.error == EEXIST)
		server.error = 0;
	server_end(&server);
	assert_that(server.count >= READERS / 2,
		    "%zu minor faults, expected at least %d", server.count, READERS / 2);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "eight readers of neighbouring base pages, one handler thread: all read their contents",
		  one_server },
		{ "eight readers of the same base pages, four handler threads: each page is mapped once",
		  four_servers },
		{ "eight readers, a handler that continues 64 KiB or 2 MiB: all read their contents",
		  large_answers },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
