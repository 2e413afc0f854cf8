// SPDX-License-Identifier: GPL-2.0-only
/* The options that every probe has, and those of one probe. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"

static _Noreturn __attribute__((format(printf, 2, 3)))
void usage_error(const char *program, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "; -h lists the options\n");
	exit(2);
}

const char *probe_option(int argc, char **argv, const char *name)
{
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return argv[i + 1];
	return NULL;
}

static bool is_own(const struct probe *probe, const char *name)
{
	for (const struct probe_argument *own = probe->arguments; own && own->name; own++)
		if (strcmp(own->name, name) == 0)
			return true;
	return false;
}

static size_t size_of(const char *program, const char *text)
{
	size_t size = parse_size(text);

	/* Whether this kernel has it is for the tests to say. */
	if (size < BASE_PAGE || size & (size - 1))
		usage_error(program, "--size %s is not the size of a huge page, such as 2M or 1G", text);
	return size;
}

struct options parse_options(int argc, char **argv, const struct probe *probe)
{
	struct options options = { 0 };

	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = argv[i + 1];

		if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
			options.help = true;
			continue;
		}
		if (strcmp(name, "-l") == 0) {
			options.list = true;
			continue;
		}
		if (strcmp(name, "--yes-harm-this-machine") == 0) {
			options.may_harm = true;
			continue;
		}
		if (strcmp(name, "-t") && strcmp(name, "--size") && strcmp(name, "--checkpoints") &&
		    !is_own(probe, name))
			usage_error(argv[0], "unknown option %s", name);
		if (!value)
			usage_error(argv[0], "%s wants a value", name);
		if (strcmp(name, "--size") == 0)
			options.size = size_of(argv[0], value);
		if (strcmp(name, "--checkpoints") == 0)
			options.checkpoints = value;
		if (strcmp(name, "-t") == 0) {
			if (options.glob_count == MAX_GLOBS)
				usage_error(argv[0], "more than %d times -t", MAX_GLOBS);
			options.globs[options.glob_count++] = value;
		}
		i++;
	}
	for (size_t glob = 0; glob < options.glob_count; glob++) {
		bool found = false;

		for (size_t i = 0; i < probe->count; i++)
			found |= fnmatch(options.globs[glob], probe->tests[i].name, 0) == 0;
		if (!found)
			usage_error(argv[0], "-t '%s' matches no test (-l lists them)",
				    options.globs[glob]);
	}
	return options;
}

bool is_selected(const struct options *options, const char *test)
{
	for (size_t i = 0; i < options->glob_count; i++)
		if (fnmatch(options->globs[i], test, 0) == 0)
			return true;
	return options->glob_count == 0;
}

static void print_sizes(void)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes);

	printf("  --size SIZE    of the huge pages; this kernel has");
	for (size_t i = 0; i < count; i++)
		printf("%s %s", i ? "," : "", size_name(sizes[i]));
	printf("%s. By default the kernel's\n"
	       "                 default size, or the largest of which enough pages are free\n",
	       count ? "" : " none");
}

void print_help(const char *program, const struct probe *probe)
{
	printf("usage: %s [OPTION...]\n\n", program);
	for (size_t i = 0; i < probe->count; i++)
		printf("  %s\n", probe->tests[i].name);
	printf("\nNeeds");
	if (probe->needs_hgm)
		printf(" high-granularity mapping (MADV_SPLIT) and");
	if (probe->pages_small)
		printf(" %zu free huge pages (of 1 GiB %zu).\n\n", probe->pages_small, probe->pages);
	else
		printf(" %zu free huge page%s.\n\n", probe->pages, probe->pages == 1 ? "" : "s");
	printf("  -h             print this\n"
	       "  -l             list the tests, one a line\n"
	       "  -t GLOB        run the tests that match alone; may be repeated\n");
	print_sizes();
	printf("  --checkpoints host\n"
	       "                 a host walks the page tables at each checkpoint\n"
	       "  --yes-harm-this-machine\n"
	       "                 run as well what poisons memory, crashes the kernel or\n"
	       "                 reads a disk\n");
	for (const struct probe_argument *own = probe->arguments; own && own->name; own++)
		printf("  %s %s\n                 %s\n", own->name, own->value, own->help);
}
