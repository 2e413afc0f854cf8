// SPDX-License-Identifier: GPL-2.0-only
/* One process of the stress: threads that work, and one that answers their faults. */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress.h"

#define THREADS 3

int uffd;
char *primary, *alias;

static atomic_bool has_ended;
static atomic_ulong done[ACTIONS];

static size_t weight_of(size_t action)
{
	return actions[action].weight * (actions[action].is_whole ? 1 : rarer());
}

static void *work(void *number)
{
	size_t total = 0, i;

	seed = (unsigned int)((uintptr_t)number * 7919 + (unsigned int)getpid());
	for (i = 0; i < ACTIONS; i++)
		total += weight_of(i);
	while (!time_is_over()) {
		size_t chosen = random_below(total);

		for (i = 0; chosen >= weight_of(i); i++)
			chosen -= weight_of(i);
		actions[i].run();
		atomic_fetch_add_explicit(&done[i], 1, memory_order_relaxed);
	}
	return NULL;
}

static void answer(const struct uffd_msg *message)
{
	char *page = (char *)(uintptr_t)(message->arg.pagefault.address & -BASE_PAGE);

	if (message->event == UFFD_EVENT_FORK)
		close((int)message->arg.fork.ufd);
	if (message->event != UFFD_EVENT_PAGEFAULT)
		return;
	if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
		uffd_protect(uffd, (char *)((uintptr_t)page & -wp_unit()), wp_unit(), false);
	else
		uffd_continue(uffd, page, BASE_PAGE);
	/* Also where that failed: the page may be mapped, or gone from the file. */
	uffd_wake(uffd, page, BASE_PAGE);
}

static void *answer_faults(void *unused)
{
	struct pollfd waiting = { .fd = uffd, .events = POLLIN };
	struct uffd_msg message;

	while (!atomic_load(&has_ended))
		if (poll(&waiting, 1, 100) == 1 &&
		    read(uffd, &message, sizeof(message)) == sizeof(message))
			answer(&message);
	return unused;
}

/* Half of the processes write-protect asynchronously; in the others fork copies page tables. */
static uint64_t features(void)
{
	uint64_t common = UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			  UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	uint64_t more = getpid() % 2 ? UFFD_FEATURE_EVENT_FORK :
				       UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;

	return common | (more & uffd_offered());
}

static void note_actions(void)
{
	char line[512];
	int used = 0;

	for (size_t i = 0; i < ACTIONS; i++)
		used += snprintf(line + used, sizeof(line) - (size_t)used, " %s %lu",
				 actions[i].name, atomic_load(&done[i]));
	probe_note("process %d:%s", getpid(), line);
}

void run_process(void)
{
	pthread_t threads[THREADS], handler;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	guard_accesses();
	alias = map_shared(fd, length(), UNRESERVED);
	primary = map_shared(fd, length(), UNRESERVED);
	split(primary, length());
	uffd = uffd_open(features());
	uffd_register(uffd, primary, length(),
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
	pthread_create(&handler, NULL, answer_faults, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)(i + 1));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&has_ended, true);
	pthread_join(handler, NULL);
	note_actions();
	/* Some unmap, for the others exit does it. */
	if (getpid() % 3)
		unmap(primary, length());
	_exit(0);
}
