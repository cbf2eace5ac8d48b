/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the choice of one image out of an index. No I/O; any thread. */
#include <string.h>
#include <sys/utsname.h>

#include "lib/log.h"
#include "lib/oci.h"

struct platform {
	char os[32], architecture[32], variant[32];
};

/* The kernel's names of machines and those that images use. */
static const struct {
	const char *machine, *architecture, *variant;
} machines[] = {
	{ "x86_64", "amd64", "" },
	{ "i686", "386", "" },
	{ "i586", "386", "" },
	{ "aarch64", "arm64", "v8" },
	{ "armv8l", "arm", "v8" },
	{ "armv7l", "arm", "v7" },
	{ "armv6l", "arm", "v6" },
	{ "riscv64", "riscv64", "" },
	{ "ppc64le", "ppc64le", "" },
	{ "s390x", "s390x", "" },
	{ "loongarch64", "loong64", "" },
};

static void platform_of_host(struct platform *out)
{
	struct utsname name;

	*out = (struct platform){ .os = "linux" };
	if (uname(&name))
		return;
	snprintf(out->architecture, sizeof(out->architecture), "%s", name.machine);
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		if (strcmp(name.machine, machines[i].machine))
			continue;
		snprintf(out->architecture, sizeof(out->architecture), "%s",
			 machines[i].architecture);
		snprintf(out->variant, sizeof(out->variant), "%s", machines[i].variant);
		return;
	}
}

static int platform_parse(const char *text, struct platform *out)
{
	char *const fields[] = { out->os, out->architecture, out->variant };
	size_t n = 0;

	*out = (struct platform){ .os = "" };
	for (;;) {
		size_t len = strcspn(text, "/");

		if (n == ARRAY_SIZE(fields) || len == 0 || len >= sizeof(out->os))
			return -EINVAL;
		memcpy(fields[n++], text, len);
		if (!text[len])
			return n >= 2 ? 0 : -EINVAL;
		text += len + 1;
	}
}

/* A 32-bit ARM machine also runs what was built for older ones. */
static unsigned int variant_rank(const struct platform *wanted, const char *variant)
{
	if (!variant || !*variant || !*wanted->variant)
		return 1;
	if (!strcmp(variant, wanted->variant))
		return 10;
	if (!strcmp(wanted->architecture, "arm") && variant[0] == 'v' && variant[1] >= '5' &&
	    variant[1] < wanted->variant[1] && !variant[2])
		return 1 + (unsigned int)(variant[1] - '4');
	return 0;
}

/* 0: does not fit; else higher is better. */
static unsigned int entry_rank(const struct oci_descriptor *entry, const struct platform *wanted,
			       bool is_only_one)
{
	bool is_manifest = !strcmp(entry->media_type, OCI_MEDIA_MANIFEST) ||
			   !strcmp(entry->media_type, DOCKER_MEDIA_MANIFEST);

	if (!is_manifest || entry->artifact_type)
		return 0;
	if (!entry->os && !entry->architecture)
		return is_only_one ? 1 : 0;
	if (!entry->os || !entry->architecture || strcmp(entry->os, wanted->os) ||
	    strcmp(entry->architecture, wanted->architecture))
		return 0;
	return variant_rank(wanted, entry->variant);
}

static int nothing_fits(const struct oci_document *index, const struct platform *wanted,
			struct problem *problem)
{
	char list[512] = "";
	size_t used = 0;

	for (size_t i = 0; i < index->n_entries && used < sizeof(list) - 1; i++) {
		const struct oci_descriptor *entry = &index->entries[i];
		char text[96], shown[96];
		int n;

		if (!entry->os || !entry->architecture || entry->artifact_type ||
		    !strcmp(entry->os, "unknown"))
			continue;
		snprintf(text, sizeof(text), "%s/%s%s%s", entry->os, entry->architecture,
			 entry->variant ? "/" : "", entry->variant ? entry->variant : "");
		log_escape(shown, sizeof(shown), text, strlen(text));
		n = snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", shown);
		used += (size_t)n;
	}
	return problem_set(problem, -ENOENT, "the index has no image for %s/%s%s%s; it has: %s",
			   wanted->os, wanted->architecture, *wanted->variant ? "/" : "",
			   wanted->variant, *list ? list : "none at all");
}

int oci_select_platform(const struct oci_document *index, const char *platform,
			const struct oci_descriptor **out, struct problem *problem)
{
	const struct oci_descriptor *best = NULL;
	unsigned int best_rank = 0;
	struct platform wanted;
	size_t n_images = 0;

	if (!platform || !*platform)
		platform_of_host(&wanted);
	else if (platform_parse(platform, &wanted))
		return problem_set(problem, -EINVAL,
				   "a platform is OS/ARCHITECTURE[/VARIANT], as in linux/amd64");
	for (size_t i = 0; i < index->n_entries; i++)
		n_images += !index->entries[i].artifact_type;
	for (size_t i = 0; i < index->n_entries; i++) {
		unsigned int rank = entry_rank(&index->entries[i], &wanted, n_images == 1);

		if (rank > best_rank) {
			best = &index->entries[i];
			best_rank = rank;
		}
	}
	if (!best)
		return nothing_fits(index, &wanted, problem);
	*out = best;
	return 0;
}
