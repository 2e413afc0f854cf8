// SPDX-License-Identifier: GPL-2.0-only
/* The options that every probe has, and those of one probe. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"

static _Noreturn __attribute__((format(printf, 1, 2))) void usage_error(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program_invocation_short_name);
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

size_t probe_number(int argc, char **argv, const char *name, size_t usual, size_t most)
{
	const char *text = probe_option(argc, argv, name);
	char *end;
	unsigned long number = text ? strtoul(text, &end, 10) : usual;

	if (text && (end == text || *end || number < 1 || number > most))
		usage_error("%s %s is not a number from 1 to %zu", name, text, most);
	return number;
}

static bool is_own(const struct probe *probe, const char *name)
{
	for (const struct probe_argument *own = probe->arguments; own && own->name; own++)
		if (strcmp(own->name, name) == 0)
			return true;
	return false;
}

static size_t size_of(const char *text)
{
	size_t size = parse_size(text);

	/* The tests report whether this kernel has it. */
	if (size < BASE_PAGE || size & (size - 1))
		usage_error("--size %s is not the size of a huge page, such as 2M or 1G", text);
	return size;
}

static double scale_of(const char *text)
{
	char *end;
	double scale = strtod(text, &end);

	if (end == text || *end || !(scale >= 1 && scale <= MAX_TIMEOUT_SCALE))
		usage_error("--timeout-scale %s is not a number from 1 to %d", text,
			    MAX_TIMEOUT_SCALE);
	return scale;
}

static void take_glob(struct options *options, const char *glob)
{
	if (options->glob_count == MAX_GLOBS)
		usage_error("-t more than %d times", MAX_GLOBS);
	options->globs[options->glob_count++] = glob;
}

static void take_value(struct options *options, const struct probe *probe, const char *name,
		       const char *value)
{
	bool is_glob = strcmp(name, "-t") == 0, is_size = strcmp(name, "--size") == 0;
	bool is_checkpoints = strcmp(name, "--checkpoints") == 0;
	bool is_scale = strcmp(name, "--timeout-scale") == 0;

	if (!is_glob && !is_size && !is_checkpoints && !is_scale && !is_own(probe, name))
		usage_error("unknown option %s", name);
	if (!value)
		usage_error("%s needs a value", name);
	if (is_glob)
		take_glob(options, value);
	if (is_size)
		options->size = size_of(value);
	if (is_checkpoints)
		options->checkpoints = value;
	if (is_scale)
		options->timeout_scale = scale_of(value);
}

/* A glob that matches nothing is a mistake, not a test that passes. */
static void check_globs(const struct options *options, const struct probe *probe)
{
	for (size_t glob = 0; glob < options->glob_count; glob++) {
		bool found = false;

		for (size_t i = 0; i < probe->count; i++)
			found |= fnmatch(options->globs[glob], probe->tests[i].name, 0) == 0;
		if (!found)
			usage_error("-t '%s' matches no test (-l lists them)", options->globs[glob]);
	}
}

struct options parse_options(int argc, char **argv, const struct probe *probe)
{
	struct options options = { .timeout_scale = 1 };

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
			options.help = true;
		} else if (strcmp(argv[i], "-l") == 0) {
			options.list = true;
		} else if (strcmp(argv[i], "--yes-harm-this-machine") == 0) {
			options.may_harm = true;
		} else {
			take_value(&options, probe, argv[i], argv[i + 1]);
			i++;
		}
	}
	check_globs(&options, probe);
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

void print_help(const struct probe *probe)
{
	printf("usage: %s [OPTION...]\n\n", program_invocation_short_name);
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
	       "  -t GLOB        run only the tests that match; may be repeated\n");
	print_sizes();
	printf("  --checkpoints host\n"
	       "                 a host walks the page tables at each checkpoint\n"
	       "  --timeout-scale FACTOR\n"
	       "                 the machine is so many times slower than usual, 1 to 30:\n"
	       "                 multiplies every limit\n"
	       "  --yes-harm-this-machine\n"
	       "                 also run tests that poison memory, crash the kernel or\n"
	       "                 read a disk\n");
	for (const struct probe_argument *own = probe->arguments; own && own->name; own++)
		printf("  %s %s\n                 %s\n", own->name, own->value, own->help);
}
