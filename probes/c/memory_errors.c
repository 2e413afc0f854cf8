// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in one base page of shmem, of anonymous memory and of a transparent huge
 * page: that page alone is lost, wherever it is mapped, it is counted once, and does not read
 * as zeros. Huge pages of hugetlb are in error_counters.c.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define BAD 3UL
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

static const enum memory_kind kinds[] = { SHMEM, ANONYMOUS, TRANSPARENT };
static const char *const names[] = { "shmem", "anonymous memory", "a transparent huge page" };

static struct {
	enum memory_kind kind;
	int fd;
	char *start;
	size_t units, pages;
	uint64_t frame; /* of the bad page */
	int64_t bytes;	/* HardwareCorrupted before */
} at;

static void assert_counted(size_t pages, const char *when)
{
	int64_t more = meminfo_bytes("HardwareCorrupted") - at.bytes;

	assert_that(more == (int64_t)(pages * BASE_PAGE),
		    "HardwareCorrupted %s: expected %s more, got %s more", when,
		    size_text((int64_t)(pages * BASE_PAGE)), size_text(more));
}

static void make_memory(void)
{
	at.units = at.kind == TRANSPARENT ? 1 : 16;
	at.pages = at.units * memory_unit(at.kind) / BASE_PAGE;
	at.fd = memory_file(at.kind, at.units);
	at.start = memory_map(at.kind, at.fd, at.units);
	fill_pages(at.start, 0, at.pages, FILLING);
	at.bytes = meminfo_bytes("HardwareCorrupted");
}

static void poison(void)
{
	uint64_t entry = pagemap_entry(at.start + BAD * BASE_PAGE);
	int error;

	/* It may have moved since; of a page that is not present pagemap shows something else. */
	assert_that(entry & PAGEMAP_PRESENT, "the page to poison is not present");
	at.frame = entry & PAGEMAP_FRAME;
	error = poison_frame(at.frame);
	assert_that(error == 0, "hwpoison/corrupt-pfn: %s", error_name(error));
	assert_counted(1, "after an error");
}

/* All but the bad page can be read and written as before. */
static void assert_only_one_is_bad(char *start)
{
	assert_signal(start + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	assert_signal(start + BAD * BASE_PAGE, TOUCH_WRITE, SIGBUS);
	check_pages(start, 0, BAD, FILLING);
	check_pages(start, BAD + 1, at.pages - BAD - 1, FILLING);
}

static void counted(void)
{
	make_memory();
	poison();
	assert_only_one_is_bad(at.start);
	poison_frame(at.frame);
	assert_counted(1, "after the same error again");
	assert_only_one_is_bad(at.start);
	assert_counted(1, "after accesses");
}

static int poisoned[2], ready[2]; /* pipes to and from the child */

static void child_sees_it(void)
{
	char byte = 0;

	assert_bytes(write(ready[1], &byte, 1), 1);
	assert_bytes(read(poisoned[0], &byte, 1), 1);
	assert_only_one_is_bad(at.start);
}

static void everywhere(void)
{
	char *other, buffer[16], byte = 0;
	pid_t child;
	ssize_t got;

	make_memory();
	assert_errno(pipe2(poisoned, O_CLOEXEC), 0);
	assert_errno(pipe2(ready, O_CLOEXEC), 0);
	child = child_start(child_sees_it);
	assert_bytes(read(ready[0], &byte, 1), 1);
	poison();
	assert_bytes(write(poisoned[1], &byte, 1), 1);
	child_end(child);
	assert_only_one_is_bad(at.start);
	if (at.kind != SHMEM)
		return;
	other = memory_map(at.kind, at.fd, at.units);
	assert_only_one_is_bad(other);
	got = pread(at.fd, buffer, sizeof(buffer), BAD * BASE_PAGE);
	assert_that(got < 0 && errno == EIO, "pread of the bad page: expected EIO, got %s",
		    got < 0 ? error_name(errno) : size_text(got));
	assert_bytes(pread(at.fd, buffer, sizeof(buffer), (BAD + 1) * BASE_PAGE),
		     (ssize_t)sizeof(buffer));
}

/*
 * The frame stays out of use until it is unpoisoned. A hole in the file leaves the entries of
 * mappings that had the bad page: they still raise SIGBUS, new mappings do not.
 */
static void until_it_is_gone(void)
{
	char frame[32];
	char *bad;

	make_memory();
	bad = at.start + BAD * BASE_PAGE;
	poison();
	if (at.kind == SHMEM) {
		assert_errno(fallocate(at.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       BAD * BASE_PAGE, BASE_PAGE), 0);
		bad = memory_map(at.kind, at.fd, at.units) + BAD * BASE_PAGE;
	} else {
		assert_error(advise(bad, BASE_PAGE, MADV_DONTNEED), 0);
	}
	check_zero(bad, 0, 1);
	*(volatile char *)bad = 1;
	assert_that((pagemap_entry(bad) & PAGEMAP_FRAME) != at.frame,
		    "the frame with the error is used again");
	assert_counted(1, "after the page was dropped");
	snprintf(frame, sizeof(frame), "%#llx", (unsigned long long)at.frame);
	assert_written(UNPOISON, frame);
	assert_counted(0, "after unpoison-pfn");
}

static void of_each_kind(void (*act)(void))
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		at.kind = kinds[i];
		probe_about("%s", names[i]);
		child_end(child_start(act));
	}
}

static void counted_once(void) { of_each_kind(counted); }
static void lost_everywhere(void) { of_each_kind(everywhere); }
static void sound_again(void) { of_each_kind(until_it_is_gone); }

static void set_up(void)
{
	probe_harms("poisons memory");
	/* vm.memory_failure_early_kill=1 would kill the test. */
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a memory error is counted once, and costs one base page", counted_once },
		{ "a page with a memory error is lost in each process, mapping and file that has it",
		  lost_everywhere },
		{ "a page that replaces one with a memory error is usable, and unpoison-pfn clears the error",
		  sound_again },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.setup = set_up,
	});
}
