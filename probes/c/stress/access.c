// SPDX-License-Identifier: GPL-2.0-only
/* Random places in the file, and accesses to them that survive a hole in the file. */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>

#include "stress.h"

#define RARER 6 /* what works on a huge page as a whole, where that has 262,144 parts */

__thread unsigned int seed;

static __thread sigjmp_buf before_access;
static __thread volatile sig_atomic_t is_accessing;

size_t random_below(size_t count)
{
	return ((size_t)rand_r(&seed) << 31 ^ (size_t)rand_r(&seed)) % count;
}

bool one_in(size_t count)
{
	return random_below(count) == 0;
}

size_t rarer(void)
{
	return huge_size() == PUD_PAGE ? RARER : 1;
}

char *random_huge(char *mapping)
{
	return mapping + random_below(file_pages()) * huge_size();
}

size_t random_page(void)
{
	size_t first = random_below(file_pages()) * huge_pages();

	switch (random_below(4)) {
	case 0:
		return first + random_below(huge_pages());
	case 1:
		return first + huge_pages() - 1 - random_below(16);
	default:
		return first + random_below(64);
	}
}

size_t random_length(size_t page)
{
	static const size_t counts[] = { 1, 1, 1, 2, 7, 64, 512, 1024, PUD_PAGE / BASE_PAGE };
	size_t count = counts[random_below(COUNT_OF(counts))];
	size_t left = file_pages() * huge_pages() - page;

	if (count > 512 && !one_in(4 * rarer()))
		count = 1;
	return (count < left ? count : left) * BASE_PAGE;
}

static void on_signal(int number)
{
	if (is_accessing)
		siglongjmp(before_access, number);
	signal(number, SIG_DFL);
}

void guard_accesses(void)
{
	signal(SIGBUS, on_signal);
	signal(SIGSEGV, on_signal);
}

static uint64_t stamp_of(size_t page)
{
	return page * 0x9e3779b97f4a7c15UL + 1;
}

static void check_word(const char *which, uint64_t seen, size_t page)
{
	assert_that(seen == 0 || seen == stamp_of(page),
		    "the %s word of page %zu is %#llx, expected 0 or %#llx", which, page,
		    (unsigned long long)seen, (unsigned long long)stamp_of(page));
}

void check_page(const char *mapping, size_t page)
{
	const volatile uint64_t *words = (const void *)(mapping + page * BASE_PAGE);

	is_accessing = true;
	if (sigsetjmp(before_access, 1) == 0) {
		check_word("first", words[0], page);
		check_word("last", words[511], page);
	}
	is_accessing = false;
}

void write_page(char *mapping, size_t page)
{
	volatile uint64_t *words = (void *)(mapping + page * BASE_PAGE);

	is_accessing = true;
	if (sigsetjmp(before_access, 1) == 0)
		words[0] = words[511] = stamp_of(page);
	is_accessing = false;
}
