// SPDX-License-Identifier: GPL-2.0-only
/*
 * renew [DEVICE]: waits for a line "SECONDS SEED" on standard input, and gives a guest that was
 * restored the host's time, in seconds since the epoch, and randomness that no other guest has;
 * SEED is 64 hex digits. Then copies DEVICE to standard output, as far as that is read.
 * Not a probe: it tests nothing. The guest's init calls it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

enum { SEED_BYTES = 32, CHUNK = 1 << 16 };

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

static int fail(const char *what)
{
	/* In this form the harness looks for it. */
	fprintf(stderr, "hgm: init: no %s: %m\n", what);
	return 1;
}

static int copy(const char *path)
{
	int device = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t copied;

	if (device < 0)
		return fail(path);
	signal(SIGPIPE, SIG_IGN); /* the reader ends where its archives do */
	do
		copied = sendfile(STDOUT_FILENO, device, NULL, CHUNK);
	while (copied > 0);
	return copied < 0 && errno != EPIPE ? fail(path) : 0;
}

int main(int argc, char **argv)
{
	char seconds[32], seed[2 * SEED_BYTES + 1];

	if (scanf("%31s %64s", seconds, seed) != 2)
		return fail("time and seed on standard input");
	if (set_clock(seconds))
		return fail("clock of its own");
	if (reseed(seed))
		return fail("randomness of its own");
	return argc > 1 ? copy(argv[1]) : 0;
}
