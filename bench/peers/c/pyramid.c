// Five widths of an image with libvips from C: decoded once, at the smallest scale that JPEG's shrink on load has for the
// largest width, each width made of the one before. Prints the CPU milliseconds of each image but the first.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void *library;
static const char *(*error_buffer)(void);

static void *symbol(const char *name) {
	void *s = dlsym(library, name);
	if (!s) s = dlsym(RTLD_DEFAULT, name);
	if (!s) {
		fprintf(stderr, "libvips has no %s\n", name);
		exit(1);
	}
	return s;
}

static void check(int failed) {
	if (failed) {
		fprintf(stderr, "%s\n", error_buffer());
		exit(1);
	}
}

static double cpu(void) {
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e3 + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv) {
	if (argc < 5) {
		fprintf(stderr, "usage: pyramid FILE REPEAT LIBVIPS SUFFIX...\n");
		return 1;
	}
	if (!(library = dlopen(argv[3], RTLD_NOW | RTLD_GLOBAL))) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	error_buffer = symbol("vips_error_buffer");
	int (*init)(const char *) = symbol("vips_init");
	void (*concurrency)(int) = symbol("vips_concurrency_set");
	void (*cache)(int) = symbol("vips_cache_set_max");
	void *(*load)(const void *, size_t, const char *, ...) = symbol("vips_image_new_from_buffer");
	int (*width)(void *) = symbol("vips_image_get_width");
	int (*thumbnail)(void *, void **, int, ...) = symbol("vips_thumbnail_image");
	void *(*copy)(void *) = symbol("vips_image_copy_memory");
	int (*save)(void *, const char *, void **, size_t *, ...) = symbol("vips_image_write_to_buffer");
	void (*unref)(void *) = symbol("g_object_unref");
	void (*release)(void *) = symbol("g_free");

	FILE *f = fopen(argv[1], "rb");
	if (!f) {
		perror(argv[1]);
		return 1;
	}
	fseek(f, 0, SEEK_END);
	size_t n = ftell(f);
	rewind(f);
	char *data = malloc(n);
	if (fread(data, 1, n, f) != n) return 1;
	check(init("pyramid"));
	concurrency(1);
	cache(0);

	const int widths[] = {1600, 800, 400, 200, 100};
	int is_jpeg = !memcmp(data, "\xff\xd8", 2);
	for (int i = 0; i <= atoi(argv[2]); i++) {
		double before = cpu();
		void *whole = load(data, n, "[access=sequential]", NULL);
		check(!whole);
		int shrink = 1;
		while (is_jpeg && shrink < 8 && width(whole) / (2 * shrink) >= widths[0]) shrink *= 2;
		if (shrink > 1) {
			char options[64];
			snprintf(options, sizeof options, "[access=sequential,shrink=%d]", shrink);
			unref(whole);
			check(!(whole = load(data, n, options, NULL)));
		}
		for (int w = 0; w < 5; w++) {
			void *lazy, *level;
			check(thumbnail(whole, &lazy, widths[w], NULL));
			check(!(level = copy(lazy))); // else each save would decode again
			unref(lazy);
			unref(whole);
			whole = level;
			for (int f = 4; f < argc; f++) {
				void *out;
				size_t length;
				check(save(whole, argv[f], &out, &length, NULL));
				release(out);
			}
		}
		unref(whole);
		if (i > 0) printf("%.3f\n", cpu() - before);
	}
	return 0;
}
