// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hugetlb controller of a cgroup counts and limits whole huge pages, however
 * they are mapped. With --mapping split they are mapped by base-page entries.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "hgm_probe.h"

#define FILLING 1

static bool is_split;

static void limit(const char *what, size_t pages)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", pages * huge_size());
	assert_written(group_file(what), text);
}

/* How often the limit has refused a huge page or a reservation, by events and events.local. */
static void assert_refusals(bool some, const char *when)
{
	static const char *const files[] = { "events", "events.local" };
	FILE *file;
	long count;

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		file = fopen(group_file(files[i]), "re");
		assert_that(file && fscanf(file, "max %ld", &count) == 1, "reading %s: %s",
			    group_file(files[i]), error_name(errno));
		fclose(file);
		assert_that(!count == !some, "%s shows max %ld %s, expected %s", group_file(files[i]),
			    count, when, some ? "more than 0" : "0");
	}
}

/* COUNT huge pages of the file, split or not. */
static char *map_it(int fd, size_t count)
{
	int uffd;

	if (!is_split)
		return map_shared(fd, count * huge_size(), UNRESERVED);
	return map_split_part(fd, 0, count, 0, 0, &uffd);
}

static void charge(void)
{
	int fd = huge_memfd(1), uffd;
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;

	assert_charged("current", 0, "before the first access");
	fill_pages(alias, 0, 8, FILLING);
	assert_charged("current", huge_size(), "after the first write");
	if (is_split) {
		primary = map_split(fd, 0, 0, &uffd);
		for (size_t page = 0; page < 8; page++)
			assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
		collapse(primary, huge_size());
	} else {
		primary = map_it(fd, 1);
	}
	check_pages(primary, 0, 8, FILLING);
	assert_charged("current", huge_size(), "after a second mapping of the huge page");
	unmap(primary, huge_size());
	unmap(alias, huge_size());
	assert_charged("current", huge_size(), "after munmap, while the file has the huge page");
	punch(fd, 0, 1);
	assert_charged("current", 0, "after the hole was punched");
}

/* One huge page is allowed: the second is SIGBUS, the first stays mapped. */
static void over_the_limit(void)
{
	int fd = huge_memfd(2);
	char *alias, *primary;

	limit("max", 1);
	alias = map_shared(fd, 2 * huge_size(), UNRESERVED);
	fill_pages(alias, 0, 8, FILLING);
	primary = map_it(fd, 2);
	assert_refusals(false, "below the limit");
	assert_signal(alias + huge_size(), TOUCH_WRITE, SIGBUS);
	assert_refusals(true, "after a fault beyond the limit");
	assert_charged("current", huge_size(), "after a fault beyond the limit");
	if (is_split) {
		/* Not registered, so that the kernel allocates the page. */
		unmap(primary, 2 * huge_size());
		primary = map_shared(fd, 2 * huge_size(), UNRESERVED);
		split(primary, 2 * huge_size());
	}
	assert_signal(primary + huge_size(), TOUCH_READ, SIGBUS);
	check_pages(primary, 0, 8, FILLING);
	check_pages(alias, 0, 8, FILLING);
}

/* mmap() reserves, so it is the call that fails. */
static void over_the_reservation(void)
{
	int fd = huge_memfd(2);
	char *start;

	limit("rsvd.max", 1);
	start = map_shared(fd, huge_size(), RESERVED);
	assert_charged("rsvd.current", huge_size(), "after mmap");
	if (is_split)
		split(start, huge_size());
	assert_refusals(false, "below the limit");
	assert_errno(mmap(NULL, 2 * huge_size(), PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
	assert_refusals(true, "after mmap beyond the limit");
	fill_pages(start, 0, 8, FILLING);
	assert_charged("rsvd.current", huge_size(), "after the first write");
	check_pages(start, 0, 8, FILLING);
}

static void assert_lifted(const char *path)
{
	char text[32] = "";
	FILE *file = fopen(path, "re");

	assert_that(file && fgets(text, sizeof(text), file) && strcmp(text, "max\n") == 0,
		    "%s has %s after max was written", path, text);
	fclose(file);
}

/* "max" lifts a limit, bytes are rounded down to whole huge pages, and words are refused. */
static void limits_are_written(void)
{
	static const char *const files[] = { "max", "rsvd.max" };
	char text[32];

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		snprintf(text, sizeof(text), "%zu", 2 * huge_size() - 1);
		assert_written(group_file(files[i]), text);
		assert_charged(files[i], huge_size(), "after one byte less than two huge pages");
		assert_error(write_text(group_file(files[i]), "all"), EINVAL);
		assert_charged(files[i], huge_size(), "after a word");
		assert_written(group_file(files[i]), "max");
		assert_lifted(group_file(files[i]));
	}
}

static int passed_on;

static void allocate(void)
{
	assert_errno(fallocate(passed_on, 0, 0, (off_t)huge_size()), 0);
}

static void uncharge(void)
{
	assert_charged("current", huge_size(), "after the cgroup below was removed");
	punch(passed_on, 0, 1);
	assert_charged("current", 0, "after the hole was punched");
}

/* The file outlives the cgroup that was charged for it. */
static void outlived(void)
{
	passed_on = huge_memfd(1);
	in_inner_group(allocate, uncharge);
}

static void written(void)
{
	in_group(limits_are_written);
}

static void charged(void)
{
	in_group(charge);
}

static void limited(void)
{
	in_group(over_the_limit);
}

static void reserved(void)
{
	in_group(over_the_reservation);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a hugetlb cgroup is charged once for a huge page, until the file frees it",
		  charged },
		{ "a fault beyond hugetlb.max is SIGBUS and leaves the first huge page mapped",
		  limited },
		{ "mmap beyond hugetlb.rsvd.max is ENOMEM", reserved },
		{ "hugetlb.max and hugetlb.rsvd.max take whole huge pages and max, and nothing else",
		  written },
		{ "a file's huge page is charged to the parent of the cgroup that was removed", outlived },
	};
	static const struct probe_argument arguments[] = {
		{ "--mapping", "whole|split", "how the huge pages are mapped; whole by default" },
		{ 0 },
	};
	const char *mapping = probe_option(argc, argv, "--mapping");

	is_split = mapping && strcmp(mapping, "split") == 0;
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.arguments = arguments,
		.needs_hgm = is_split,
	});
}
