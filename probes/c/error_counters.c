// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in a huge page of a file: it is counted once, and the file keeps
 * it, so that nobody reads zeros where data was lost.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define BAD 3UL
#define NODES "/sys/devices/system/node"

/* The sum of memory_failure/total of all nodes; -1 on kernels without it. */
static long counted_by_nodes(void)
{
	struct dirent *entry;
	DIR *nodes = opendir(NODES);
	long sum = -1;

	while (nodes && (entry = readdir(nodes))) {
		char path[sizeof(NODES) + sizeof(entry->d_name) + 32];
		long value;
		FILE *file;

		snprintf(path, sizeof(path), NODES "/%s/memory_failure/total", entry->d_name);
		file = fopen(path, "re");
		if (file && fscanf(file, "%ld", &value) == 1)
			sum = (sum < 0 ? 0 : sum) + value;
		if (file)
			fclose(file);
	}
	if (nodes)
		closedir(nodes);
	return sum;
}

static void assert_counted(int64_t bytes, long by_nodes, size_t more, const char *when)
{
	int64_t now = meminfo_bytes("HardwareCorrupted");

	assert_that(now == bytes + (int64_t)(more * BASE_PAGE),
		    "HardwareCorrupted %s: expected %s more, got %s more", when,
		    size_text((int64_t)(more * BASE_PAGE)), size_text(now - bytes));
	if (by_nodes >= 0)
		assert_that(counted_by_nodes() == by_nodes + (long)more,
			    "memory_failure/total %s: expected %zu more, got %ld more", when, more,
			    counted_by_nodes() - by_nodes);
}

static void counted_once(void)
{
	int64_t bytes = meminfo_bytes("HardwareCorrupted");
	long by_nodes = counted_by_nodes();
	int fd = filled_memfd(1, FILLING), error;
	char *start = map_shared(fd, huge_size(), UNRESERVED);
	uint64_t frame;

	check_pages(start, 0, 1, FILLING);
	frame = (pagemap_entry(start) & PAGEMAP_FRAME) + BAD;
	error = poison_frame(frame);
	assert_that(error == 0, "hwpoison/corrupt-pfn: %s", error_name(error));
	assert_counted(bytes, by_nodes, 1, "after an error");
	error = poison_frame(frame);
	assert_that(error != 0 || counted_by_nodes() < 0,
		    "a second error in the page: expected an error, got success");
	assert_counted(bytes, by_nodes, 1, "after the same error again");
}

static void file_keeps_it(void)
{
	int fd = filled_memfd(1, FILLING), error;
	char *start = map_shared(fd, huge_size(), UNRESERVED), *later, buffer[16];
	struct stat seen;
	ssize_t got;

	check_pages(start, 0, 1, FILLING);
	error = poison_frame((pagemap_entry(start) & PAGEMAP_FRAME) + BAD);
	assert_that(error == 0, "hwpoison/corrupt-pfn: %s", error_name(error));
	assert_signal(start + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	later = map_shared(fd, huge_size(), UNRESERVED);
	assert_signal(later + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	assert_errno(fstat(fd, &seen), 0);
	assert_that((size_t)seen.st_blocks * 512 == huge_size(),
		    "the file has %lld blocks of 512 bytes, expected those of its huge page",
		    (long long)seen.st_blocks);
	got = pread(fd, buffer, sizeof(buffer), BAD * BASE_PAGE);
	assert_that(got < 0 && errno == EIO, "pread of the bad page: expected EIO, got %s",
		    got < 0 ? error_name(errno) : size_text(got));
	/* A hole takes the error out of the file, and the next page is a sound one. */
	unmap(start, huge_size());
	unmap(later, huge_size());
	punch(fd, 0, 1);
	start = map_shared(fd, huge_size(), UNRESERVED);
	check_zero(start, 0, huge_pages());
}

static void set_up(void)
{
	probe_harms("poisons memory for good");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a memory error is counted once, however often it is reported", counted_once },
		{ "a file keeps a huge page with a memory error: SIGBUS and EIO, not zeros",
		  file_keeps_it },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 3,
		.setup = set_up,
	});
}
