// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does a known amount of what probes do (page faults, system calls, opening and
 * reading files, arithmetic) and prints how much processor time it took:
 * "seconds=0.123456". A slow host shows in that as well, for the guest does not
 * know when its CPUs stand still; another process in the guest does not. Not a
 * probe: it tests nothing and exits 0. After a change of the work, measure
 * `reference` in catalog.toml again.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hgm_probe.h"

#define MAPPED (320 * BASE_PAGE)

enum { MAPPINGS = 2, CALLS = 1500, FILES = 15, STEPS = 500000 };

static double now(void)
{
	struct timespec spent;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

static int fault_pages(void)
{
	for (int i = 0; i < MAPPINGS; i++) {
		char *start = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (start == MAP_FAILED)
			return -1;
		madvise(start, MAPPED, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < MAPPED; at += BASE_PAGE)
			start[at] = 1;
		munmap(start, MAPPED);
	}
	return 0;
}

static void call_kernel(void)
{
	char text[512];

	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	for (int i = 0; i < FILES; i++) {
		int fd = open("/proc/self/stat", O_RDONLY);

		if (read(fd, text, sizeof(text)) < 0)
			return;
		close(fd);
	}
}

static uint64_t reckon(void)
{
	uint64_t x = 88172645463325252;

	for (int i = 0; i < STEPS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

int main(void)
{
	double began = now();
	volatile uint64_t result;

	if (fault_pages()) {
		perror("mmap");
		return 1;
	}
	call_kernel();
	result = reckon();
	(void)result;
	printf("seconds=%.6f\n", now() - began);
	return 0;
}
