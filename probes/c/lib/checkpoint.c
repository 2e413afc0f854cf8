// SPDX-License-Identifier: GPL-2.0-only
/* Has the host walk the page tables of a range, and waits until it has done so. */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "library.h"

/* Longer than the host tries to find us, shorter than a test. */
#ifndef CHECKPOINT_MS
#define CHECKPOINT_MS 10000
#endif

/*
 * A page that no other process maps: by TOKEN the host knows that these are the
 * probe's tables, and it writes RELEASED when it has read them. No system call is needed, so
 * that the vCPU stays in user mode.
 */
struct beacon {
	uint64_t token;
	volatile uint64_t released;
};

static bool listening;
static const char *test_name = "";

void checkpoints_listen(const char *who)
{
	listening = who && strcmp(who, "host") == 0;
}

void checkpoints_of(const char *test)
{
	test_name = test;
}

static struct beacon *light_beacon(void)
{
	struct beacon *beacon = (void *)map_anonymous(BASE_PAGE, 0);

	assert_that(getrandom(&beacon->token, sizeof(beacon->token), 0) == sizeof(beacon->token),
	       "getrandom: %s", error_name(errno));
	return beacon;
}

static bool spin(const struct beacon *beacon)
{
	int64_t end = now_ns() + CHECKPOINT_MS * 1000000LL;

	while (now_ns() < end)
		for (int i = 0; i < 10000; i++)
			if (beacon->released)
				return true;
	return false;
}

/* Pins this thread where it runs; SAVED takes where it might have run. */
static int pin(cpu_set_t *saved)
{
	cpu_set_t one;
	int cpu = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_that(cpu >= 0 && sched_getaffinity(0, sizeof(*saved), saved) == 0 &&
	       sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity: %s",
	       error_name(errno));
	return cpu;
}

static void wait_for_host(const char *start, size_t length, size_t page, const char *want)
{
	size_t pages = length / BASE_PAGE;
	size_t bytes = (pages * sizeof(uint64_t) + BASE_PAGE - 1) & -BASE_PAGE;
	uint64_t *pagemap = (void *)map_anonymous(bytes, 0);
	struct smaps_mapped by = smaps_mapped(start, length);
	struct beacon *beacon = light_beacon();
	bool released;
	cpu_set_t saved;
	int cpu;

	pagemap_read(start, pages, pagemap);
	cpu = pin(&saved);
	if (page == BASE_PAGE)
		by = (struct smaps_mapped){ -1, -1, -1, -1 }; /* the fields are hugetlb's */
	printf("# checkpoint cpu=%d start=%p length=%#zx page=%#zx beacon=%p token=%#llx "
	       "pagemap=%p smaps=pud:%lld,pmd:%lld,pte:%lld,all:%lld want=%s name=%s\n",
	       cpu, (const void *)start, length, page, (void *)beacon,
	       (unsigned long long)beacon->token, (void *)pagemap, (long long)by.pud,
	       (long long)by.pmd, (long long)by.pte, (long long)by.all, want, test_name);
	fflush(stdout);
	released = spin(beacon);
	sched_setaffinity(0, sizeof(saved), &saved);
	unmap(beacon, BASE_PAGE);
	unmap(pagemap, bytes);
	assert_that(released, "the host did not read the page tables within %d s",
		    CHECKPOINT_MS / 1000);
}

void checkpoint_of(const char *start, size_t length, size_t page, const char *format, ...)
{
	char want[128];
	va_list arguments;

	if (!listening) {
		probe_note("no checkpoint without --checkpoints host");
		return;
	}
	va_start(arguments, format);
	vsnprintf(want, sizeof(want), format, arguments);
	va_end(arguments);
	wait_for_host(start, length, page, want);
}
