// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel under test promises where implementations of high-granularity
 * mapping differ, found out by asking it. probes/promises.toml says what each
 * promise means.
 *
 * Each question is asked in a process of its own, on one huge page that they
 * share: a kernel that breaks on one still answers the others.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "library.h"

#define FILLING 1
#define QUESTION_SECONDS 20
#define FAR_PAGE 5UL /* a base page that is not the first of its huge page */

/* A file with a huge page in it, and one without. */
static int full, empty;

/* What offers() answers from. */
static const struct promise_answer *known;

static void say(struct promise_answer *answer, bool offered, const char *word)
{
	answer->state = offered ? ANSWER_OFFERED : ANSWER_NOT_OFFERED;
	snprintf(answer->word, sizeof(answer->word), "%s", word);
}

static void say_error(struct promise_answer *answer, int error)
{
	say(answer, error == 0, error_name(error));
}

static char *map_both_modes(int fd, int *uffd)
{
	return map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, uffd);
}

static void ask_split(struct promise_answer *answer)
{
	say_error(answer, advice_error(huge_size(), MADV_SPLIT));
}

/* Of all sizes that the kernel has; kept where it has none of contiguous entries. */
static void ask_contiguous(struct promise_answer *answer)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes);

	say(answer, true, "no such sizes");
	for (size_t i = 0; i < count; i++) {
		int error;

		if (is_one_entry(sizes[i]))
			continue;
		error = advice_error(sizes[i], MADV_SPLIT);
		if (error != EINVAL) {
			say_error(answer, error);
			answer->state = ANSWER_NOT_OFFERED;
			return;
		}
		say(answer, true, error_name(error));
	}
}

static void ask_continue_base_pages(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);

	say_error(answer, uffd_continue(uffd, start, BASE_PAGE).error);
}

/* Touches a base page of a mapping and says whether the message names it. */
static void ask_address(struct promise_answer *answer, int uffd, char *start, enum touch_kind kind)
{
	char *expected = start + FAR_PAGE * BASE_PAGE, *address;
	struct touch touch;

	touch_start(&touch, expected + 8, kind);
	address = uffd_next_fault(uffd).address;
	if (address != expected && address != start)
		say(answer, false, "neither the base page's nor the huge page's address");
	else
		say(answer, address == expected,
		    address == expected ? "base page" : "address of the huge page");
}

static void ask_minor_address(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);

	ask_address(answer, uffd, start, TOUCH_READ);
}

static void ask_missing_address(struct promise_answer *answer)
{
	char *start = map_part(empty, 0, huge_size(), UNRESERVED);
	int uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);

	split(start, huge_size());
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	ask_address(answer, uffd, start, TOUCH_READ);
}

static void ask_wp_address(struct promise_answer *answer)
{
	int uffd;
	char *start = map_both_modes(full, &uffd);

	assert_continue(uffd, start, huge_size(), 0, huge_size());
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	ask_address(answer, uffd, start, TOUCH_WRITE);
}

static void ask_wp_base_pages(struct promise_answer *answer)
{
	int uffd;
	char *start = map_both_modes(empty, &uffd);

	say_error(answer, uffd_protect(uffd, start, BASE_PAGE, true));
}

/* A kernel without read-write protection counts as keeping it. */
static void ask_rwp_base_pages(struct promise_answer *answer)
{
	int uffd;
	char *start;

	if (!(uffd_offered() & UFFD_FEATURE_RWP)) {
		say(answer, true, "no UFFD_FEATURE_RWP");
		return;
	}
	start = map_split(full, UFFD_FEATURE_RWP, UFFDIO_REGISTER_MODE_RWP, &uffd);
	assert_continue(uffd, start, huge_size(), 0, huge_size());
	say_error(answer, uffd_rwprotect(uffd, start, BASE_PAGE, UFFDIO_RWPROTECT_MODE_RWP));
}

/* On a mapping that is not split, and without a page: what counts is EINVAL or not. */
static void ask_continue_wp(struct promise_answer *answer)
{
	char *start = map_part(empty, 0, huge_size(), UNRESERVED);
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM), error;

	uffd_register(uffd, start, huge_size(),
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
	error = uffd_continue_mode(uffd, start, huge_size(), UFFDIO_CONTINUE_MODE_WP).error;
	say(answer, error == EFAULT, error_name(error));
}

/* Base page 2 is mapped, then the first 2 MiB are continued. */
static void ask_continue_around(struct promise_answer *answer)
{
	struct uffd_result result;
	char word[sizeof(answer->word)];
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);

	assert_continue(uffd, start + 2 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	result = uffd_continue(uffd, start, PMD_PAGE);
	snprintf(word, sizeof(word), "%s after %s", error_name(result.error),
		 size_text(result.done > 0 ? result.done : 0));
	say(answer, result.error == EAGAIN && result.done == 2 * (int64_t)BASE_PAGE, word);
}

static void ask_collapse(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);

	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	say_error(answer, advise(start, huge_size(), MADV_COLLAPSE));
}

static void ask_collapse_inside(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);

	assert_continue(uffd, start, PMD_PAGE, 0, PMD_PAGE);
	say_error(answer, advise(start + FAR_PAGE * BASE_PAGE, BASE_PAGE, MADV_COLLAPSE));
}

static void ask_collapse_untouched(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);
	int error = advise(start, huge_size(), MADV_COLLAPSE);
	bool present = pagemap_present(start, 1) == 1;

	say(answer, !error && present, error ? error_name(error) :
	    present ? "mapped" : "success, and nothing is mapped");
}

static void ask_collapse_clears_wp(struct promise_answer *answer)
{
	int uffd;
	char *start = map_both_modes(full, &uffd);
	bool still;

	assert_continue(uffd, start, huge_size(), 0, huge_size());
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	collapse(start, huge_size());
	still = pagemap_protected(start);
	say(answer, !still, still ? "success, and the entry stays protected" : "cleared");
}

static void ask_dontneed_frees_tables(struct promise_answer *answer)
{
	int uffd;
	char *start = map_split(full, 0, 0, &uffd);
	int64_t before;

	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	before = status_bytes("VmPTE");
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	if (status_bytes("VmPTE") < before)
		say(answer, true, "freed");
	else
		say(answer, false, "success, and the page tables stay");
}

static const struct {
	const char *name;
	void (*ask)(struct promise_answer *answer);
} promises[PROMISE_COUNT] = {
	[PROMISE_SPLIT] = { "split", ask_split },
	[PROMISE_CONTIGUOUS_REFUSED] = { "contiguous-refused", ask_contiguous },
	[PROMISE_CONTINUE_BASE_PAGES] = { "continue-base-pages", ask_continue_base_pages },
	[PROMISE_CONTINUE_AROUND] = { "continue-around", ask_continue_around },
	[PROMISE_CONTINUE_WP] = { "continue-mode-wp", ask_continue_wp },
	[PROMISE_MINOR_ADDRESS] = { "minor-address", ask_minor_address },
	[PROMISE_MISSING_ADDRESS] = { "missing-address", ask_missing_address },
	[PROMISE_WP_ADDRESS] = { "write-protect-address", ask_wp_address },
	[PROMISE_WP_BASE_PAGES] = { "write-protect-base-pages", ask_wp_base_pages },
	[PROMISE_RWP_BASE_PAGES] = { "read-write-protect-base-pages", ask_rwp_base_pages },
	[PROMISE_COLLAPSE] = { "collapse", ask_collapse },
	[PROMISE_COLLAPSE_INSIDE] = { "collapse-inside-entry", ask_collapse_inside },
	[PROMISE_COLLAPSE_UNTOUCHED] = { "collapse-untouched", ask_collapse_untouched },
	[PROMISE_COLLAPSE_CLEARS_WP] = { "collapse-clears-write-protect", ask_collapse_clears_wp },
	[PROMISE_DONTNEED_FREES_TABLES] = { "dontneed-frees-tables", ask_dontneed_frees_tables },
};

const char *promise_name(enum promise promise)
{
	return promises[promise].name;
}

bool offers(enum promise promise)
{
	return known && known[promise].state == ANSWER_OFFERED;
}

size_t wp_unit(void)
{
	return offers(PROMISE_WP_BASE_PAGES) ? BASE_PAGE : huge_size();
}

static char *reported(char *address, enum promise base_page)
{
	uintptr_t unit = offers(base_page) ? BASE_PAGE : huge_size();

	return (char *)((uintptr_t)address & ~(unit - 1));
}

char *missing_address(char *address)
{
	return reported(address, PROMISE_MISSING_ADDRESS);
}

char *wp_address(char *address)
{
	return reported(address, PROMISE_WP_ADDRESS);
}

/* Killed by SIGALRM, or by the kernel: no answer, and a finding. */
static void ask_in_child(enum promise promise, struct promise_answer *answer)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		/* probe_fail() and probe_skip() speak of a test, and this is none. */
		if (!freopen("/dev/null", "w", stdout))
			_exit(1);
		alarm(QUESTION_SECONDS);
		promises[promise].ask(answer);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return;
	if (WIFSIGNALED(status)) {
		answer->state = ANSWER_BROKEN;
		snprintf(answer->word, sizeof(answer->word), "ended by SIG%s",
			 sigabbrev_np(WTERMSIG(status)));
	} else if (answer->state == ANSWER_UNKNOWN && WEXITSTATUS(status) == 1) {
		/* A step before the question failed. */
		answer->state = ANSWER_BROKEN;
		snprintf(answer->word, sizeof(answer->word), "what comes before it failed");
	}
}

static void ask_all(uint32_t which, struct promise_answer answers[PROMISE_COUNT])
{
	empty = huge_memfd(1);
	full = huge_memfd(1);
	if (fallocate(full, 0, 0, (off_t)huge_size()) == 0) {
		for (size_t i = 0; i < PROMISE_COUNT; i++)
			if (which & 1U << i)
				ask_in_child((enum promise)i, &answers[i]);
	} else {
		for (size_t i = 0; i < PROMISE_COUNT; i++)
			snprintf(answers[i].word, sizeof(answers[i].word), "no free huge page: %s",
				 error_name(errno));
	}
	close(full);
	close(empty);
}

void promises_ask(uint32_t which, struct promise_answer answers[PROMISE_COUNT])
{
	static const char *const states[] = {
		[ANSWER_UNKNOWN] = "unknown",
		[ANSWER_OFFERED] = "offered",
		[ANSWER_NOT_OFFERED] = "not offered",
		[ANSWER_BROKEN] = "broken",
	};

	known = answers;
	if (!which)
		return;
	ask_all(which, answers);
	for (size_t i = 0; i < PROMISE_COUNT; i++)
		if (which & 1U << i)
			probe_note("promise %s: %s: %s", promises[i].name, states[answers[i].state],
				   answers[i].word);
}
