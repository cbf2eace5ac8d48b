/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the rules for tags of the two images of one command. Any thread. */
#include "client/names.h"

#include <string.h>

#include "lib/log.h"

/* reference_parse() fills in "latest"; here it matters whether the user wrote it. */
static bool has_own_tag(const char *text, const struct reference *reference)
{
	const char *slash = strrchr(text, '/');

	if (reference->transport != REFERENCE_DOCKER)
		return reference->tag != NULL;
	return strchr(slash ? slash : text, ':') != NULL;
}

static char *make_tag(const char *tag, const char *suffix)
{
	size_t tag_len = strlen(tag), len;

	if (*suffix != '!')
		return format_text("%s%s", tag, suffix);
	suffix++;
	len = strlen(suffix);
	if (tag_len <= len || strcmp(tag + tag_len - len, suffix))
		return NULL;
	return strndup(tag, tag_len - len);
}

int names_default_tag(const char *text, struct reference *dst, const struct reference *src,
		      const char *suffix, struct problem *problem)
{
	const char *base = src->tag ? src->tag : "latest";
	char *tag;

	if (dst->has_digest)
		return problem_set(problem, -EINVAL,
				   "DST %s: a digest cannot be chosen; name a tag", text);
	if (has_own_tag(text, dst))
		return 0;
	tag = make_tag(base, suffix);
	if (!tag || strlen(tag) > TAG_MAX) {
		free(tag);
		return problem_set(problem, -EINVAL, "DST %s: it needs a tag", text);
	}
	free(dst->tag);
	dst->tag = tag;
	return 0;
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

int names_check_distinct(const struct reference *src, const struct reference *dst,
			 struct problem *problem)
{
	bool same_place = src->transport == REFERENCE_DOCKER
				  ? same(src->host, dst->host) &&
					    same(src->repository, dst->repository)
				  : same(src->path, dst->path);

	if (src->transport != dst->transport || !same_place)
		return 0;
	if (src->transport == REFERENCE_OCI_ARCHIVE)
		return problem_set(problem, -EINVAL,
				   "SRC and DST are the same archive %s; name another file",
				   src->path);
	if (same(src->tag, dst->tag) && !src->has_digest)
		return problem_set(problem, -EINVAL,
				   "SRC and DST are the same image; the tag '%s' would be "
				   "overwritten. Name another tag for DST",
				   dst->tag);
	return 0;
}
