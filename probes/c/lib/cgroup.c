// SPDX-License-Identifier: GPL-2.0-only
/* A cgroup of a test's own, and its hugetlb controller. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "library.h"

#define GROUP "/sys/fs/cgroup/hgm-probe"

const char *group_file(const char *what)
{
	static char path[128];

	snprintf(path, sizeof(path), GROUP "/hugetlb.%sB.%s", size_name(huge_size()), what);
	return path;
}

static int64_t group_bytes(const char *what)
{
	FILE *file = fopen(group_file(what), "re");
	long long value;

	assert_that(file && fscanf(file, "%lld", &value) == 1,
		    "reading %s: %s", group_file(what), error_name(errno));
	fclose(file);
	return value;
}

void assert_charged(const char *what, size_t bytes, const char *when)
{
	int64_t seen = group_bytes(what);

	assert_that(seen == (int64_t)bytes, "%s is %s %s, expected %s", group_file(what),
		    size_text(seen), when, size_text((int64_t)bytes));
}

static void (*inside)(void);

static void enter_and_run(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", getpid());
	assert_written(GROUP "/cgroup.procs", text);
	inside();
}

void in_group(void (*run)(void))
{
	rmdir(GROUP); /* a failed test may have left it */
	if (access("/sys/fs/cgroup/cgroup.procs", W_OK) != 0)
		probe_skip("/sys/fs/cgroup: %s", error_name(errno));
	assert_that(mkdir(GROUP, 0700) == 0, "mkdir " GROUP ": %s", error_name(errno));
	if (access(group_file("max"), W_OK) != 0)
		probe_skip("%s: %s", group_file("max"), error_name(errno));
	inside = run;
	child_end(child_start(enter_and_run));
	assert_charged("current", 0, "after the process in it ended");
	assert_charged("rsvd.current", 0, "after the process in it ended");
	assert_that(rmdir(GROUP) == 0, "rmdir " GROUP ": %s", error_name(errno));
}
