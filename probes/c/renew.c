// SPDX-License-Identifier: GPL-2.0-only
/*
 * renew SECONDS SEED: gives a guest that was restored the host's time, in seconds
 * since the epoch, and randomness that no other guest has. SEED is 64 hex digits.
 * Not a probe: it tests nothing. The guest's init calls it.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { SEED_BYTES = 32 };

static int set_clock(const char *text)
{
	double seconds = strtod(text, NULL);
	struct timespec now = { .tv_sec = (time_t)seconds };

	now.tv_nsec = (long)((seconds - (double)now.tv_sec) * 1e9);
	return clock_settime(CLOCK_REALTIME, &now);
}

/* Credits the seed, and has the kernel use it at once rather than in a minute. */
static int reseed(const char *hex)
{
	struct {
		struct rand_pool_info info;
		uint8_t bytes[SEED_BYTES];
	} seed = { .info = { .entropy_count = SEED_BYTES * 8, .buf_size = SEED_BYTES } };
	int random = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (strlen(hex) != 2 * SEED_BYTES)
		return -1;
	for (int i = 0; i < SEED_BYTES; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &seed.bytes[i]) != 1)
			return -1;
	if (random < 0 || ioctl(random, RNDADDENTROPY, &seed))
		return -1;
	return ioctl(random, RNDRESEEDCRNG);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: renew SECONDS SEED\n");
		return 2;
	}
	if (set_clock(argv[1])) {
		perror("clock_settime");
		return 1;
	}
	if (reseed(argv[2])) {
		perror("/dev/urandom");
		return 1;
	}
	return 0;
}
