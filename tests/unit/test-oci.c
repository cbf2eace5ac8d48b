/* SPDX-License-Identifier: Apache-2.0 */
/* Reading manifests, indexes and configs: what is taken, what is refused and why. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/log.h"
#include "lib/oci.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "\"digest\":\"sha256:" HEX "\""
#define CONFIG "\"config\":{\"mediaType\":\"" OCI_MEDIA_CONFIG "\"," DIGEST ",\"size\":7}"
#define LAYER "{\"mediaType\":\"" OCI_MEDIA_LAYER_GZIP "\"," DIGEST ",\"size\":12}"
#define MANIFEST "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "]}"
#define ENTRY_HEAD "{\"mediaType\":\"" OCI_MEDIA_MANIFEST "\"," DIGEST ",\"size\":500"
#define ENTRY(os, architecture) \
	ENTRY_HEAD ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" architecture "\"}}"
#define ENTRY_VARIANT(architecture, variant)                                          \
	ENTRY_HEAD ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" architecture \
		   "\",\"variant\":\"" variant "\"}}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static struct problem problem;

static int parse(const char *text, const char *media_type)
{
	struct oci_document document;
	int r;

	problem.text[0] = '\0';
	r = oci_document_parse(text, strlen(text), media_type, &document, &problem);
	if (!r)
		oci_document_free(&document);
	else
		assert_true(problem.text[0]);
	return r;
}

static void a_manifest_gives_its_config_and_layers(void **state)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	char text[DIGEST_TEXT_SIZE];

	(void)state;
	assert_int_equal(oci_document_parse(MANIFEST, strlen(MANIFEST), OCI_MEDIA_MANIFEST,
					    &document, &problem),
			 0);
	assert_int_equal(document.kind, OCI_KIND_MANIFEST);
	assert_string_equal(document.media_type, OCI_MEDIA_MANIFEST);
	assert_string_equal(document.config.media_type, OCI_MEDIA_CONFIG);
	assert_int_equal(document.config.size_bytes, 7);
	assert_int_equal(document.n_entries, 1);
	assert_int_equal(document.entries[0].size_bytes, 12);
	assert_string_equal(digest_format(&document.entries[0].digest, text), "sha256:" HEX);
	assert_false(document.has_subject);
	assert_false(oci_is_thin(&document));
}

static void docker_schema_2_means_the_same(void **state)
{
	(void)state;
	assert_int_equal(parse(MANIFEST, DOCKER_MEDIA_MANIFEST), 0);
	assert_int_equal(parse(INDEX(ENTRY("linux", "amd64")), DOCKER_MEDIA_LIST), 0);
}

static void parameters_of_the_media_type_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(parse(MANIFEST, OCI_MEDIA_MANIFEST "; charset=utf-8"), 0);
	assert_int_equal(parse(MANIFEST, "text/plain; charset=utf-8"), 0);
	assert_int_equal(parse(MANIFEST, NULL), 0);
	assert_int_equal(parse(MANIFEST, "text/html"), -ENOTSUP);
}

static void bytes_that_could_be_manifest_and_index_are_refused(void **state)
{
	static const char both[] = "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER
				   "],\"manifests\":[]}";

	(void)state;
	assert_int_equal(parse(both, OCI_MEDIA_MANIFEST), -EBADMSG);
	assert_int_equal(parse(both, OCI_MEDIA_INDEX), -EBADMSG);
	assert_int_equal(parse(both, NULL), -EBADMSG);
	assert_int_equal(parse(INDEX(""), OCI_MEDIA_MANIFEST), -EBADMSG);
	assert_int_equal(parse(MANIFEST, OCI_MEDIA_INDEX), -EBADMSG);
}

static void the_type_inside_must_agree_with_the_transport(void **state)
{
	static const char typed[] = "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_MANIFEST
				    "\"," CONFIG ",\"layers\":[]}";

	(void)state;
	assert_int_equal(parse(typed, OCI_MEDIA_MANIFEST), 0);
	assert_int_equal(parse(typed, DOCKER_MEDIA_MANIFEST), -EBADMSG);
	assert_int_equal(parse(typed, OCI_MEDIA_INDEX), -EBADMSG);
	assert_int_equal(parse("{\"schemaVersion\":2,\"mediaType\":\"text/html\"," CONFIG
			       ",\"layers\":[]}",
			       OCI_MEDIA_MANIFEST),
			 -ENOTSUP);
}

static void schema_1_is_named_as_such(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"schemaVersion\":1,\"fsLayers\":[]}", NULL), -ENOTSUP);
	assert_non_null(strstr(problem.text, "schema 1"));
	assert_int_equal(parse("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
			 -ENOTSUP);
	assert_non_null(strstr(problem.text, "schema 1"));
}

static void a_broken_descriptor_is_refused_with_its_place(void **state)
{
	static const char *const layers[] = {
		"1",
		"{}",
		"{\"mediaType\":\"\"," DIGEST ",\"size\":1}",
		"{\"mediaType\":\"a/b\",\"size\":1}",
		"{\"mediaType\":\"a/b\"," DIGEST "}",
		"{\"mediaType\":\"a/b\"," DIGEST ",\"size\":-1}",
		"{\"mediaType\":\"a/b\"," DIGEST ",\"size\":\"1\"}",
		"{\"mediaType\":\"a/b\"," DIGEST ",\"size\":1.5}",
		"{\"mediaType\":\"a/b\",\"digest\":\"sha256:../../etc\",\"size\":1}",
		"{\"mediaType\":\"a/b\"," DIGEST ",\"size\":1,\"annotations\":[]}",
		"{\"mediaType\":\"a/b\"," DIGEST ",\"size\":1,\"platform\":1}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
		cleanup_free char *text = format_text(
			"{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER ",%s]}", layers[i]);

		assert_int_equal(parse(text, OCI_MEDIA_MANIFEST), -EBADMSG);
		assert_non_null(strstr(problem.text, "\"layers\" entry 2"));
	}
}

static void sizes_that_add_up_past_the_range_are_refused(void **state)
{
	static const char text[] =
		"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"a/b\"," DIGEST
		",\"size\":9223372036854775807},{\"mediaType\":\"a/b\"," DIGEST ",\"size\":1}]}";

	(void)state;
	assert_int_equal(parse(text, NULL), -EBADMSG);
}

/* A manifest with @n layers. */
static char *manifest_with_layers(size_t n)
{
	size_t size = 0;
	char *text = NULL;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	fputs("{\"schemaVersion\":2," CONFIG ",\"layers\":[", stream);
	for (size_t i = 0; i < n; i++)
		fprintf(stream, "%s%s", i ? "," : "", LAYER);
	fputs("]}", stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

static void there_is_a_limit_of_entries(void **state)
{
	cleanup_free char *fits = manifest_with_layers(OCI_ENTRIES_MAX);
	cleanup_free char *large = manifest_with_layers(OCI_ENTRIES_MAX + 1);

	(void)state;
	assert_int_equal(parse(fits, NULL), 0);
	assert_int_equal(parse(large, NULL), -EBADMSG);
}

static void what_is_not_strict_json_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("", NULL), -EBADMSG);
	assert_int_equal(parse("[]", NULL), -EBADMSG);
	assert_int_equal(parse(MANIFEST "x", NULL), -EBADMSG);
	assert_int_equal(parse("{\"schemaVersion\":2,\"schemaVersion\":2," CONFIG ",\"layers\":[]}",
			       NULL),
			 -EBADMSG);
	assert_int_equal(parse("{\"schemaVersion\":\"2\"," CONFIG ",\"layers\":[]}", NULL),
			 -EBADMSG);
}

static void a_thin_manifest_is_known_by_its_version(void **state)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	static const char thin[] = "{\"schemaVersion\":2," CONFIG
				   ",\"layers\":[],\"annotations\":{\"" INTINODE_ANNOTATION_VERSION
				   "\":\"1\"},\"subject\":" LAYER "}";
	static const char newer[] = "{\"schemaVersion\":2," CONFIG
				    ",\"layers\":[],\"annotations\":{\"" INTINODE_ANNOTATION_VERSION
				    "\":\"2\"}}";

	(void)state;
	assert_int_equal(oci_document_parse(thin, strlen(thin), NULL, &document, NULL), 0);
	assert_true(oci_is_thin(&document));
	assert_true(document.has_subject);
	oci_document_free(&document);
	assert_int_equal(oci_document_parse(newer, strlen(newer), NULL, &document, NULL), 0);
	assert_false(oci_is_thin(&document));
}

static void layer_types_give_their_compression(void **state)
{
	enum oci_compression compression;

	(void)state;
	assert_int_equal(oci_layer_compression(OCI_MEDIA_LAYER_ZSTD, &compression), 0);
	assert_int_equal(compression, OCI_ZSTD);
	assert_int_equal(oci_layer_compression(DOCKER_MEDIA_LAYER_GZIP, &compression), 0);
	assert_int_equal(compression, OCI_GZIP);
	assert_int_equal(oci_layer_compression(OCI_MEDIA_LAYER, &compression), 0);
	assert_int_equal(compression, OCI_UNCOMPRESSED);
	assert_int_equal(oci_layer_compression(OCI_MEDIA_LAYER "+xz", &compression), -ENOTSUP);
}

/* The place of the chosen entry, or a negative errno. */
static int choose(const char *text, const char *platform)
{
	cleanup_oci_document struct oci_document index = { .json = NULL };
	const struct oci_descriptor *entry;
	int r;

	assert_int_equal(oci_document_parse(text, strlen(text), OCI_MEDIA_INDEX, &index, &problem),
			 0);
	problem.text[0] = '\0';
	r = oci_select_platform(&index, platform, &entry, &problem);
	return r ? r : (int)(entry - index.entries);
}

static void the_entry_that_fits_the_platform_is_chosen(void **state)
{
	static const char index[] = INDEX(ENTRY("linux", "arm64") "," ENTRY("linux", "amd64"));

	(void)state;
	assert_int_equal(choose(index, "linux/amd64"), 1);
	assert_int_equal(choose(index, "linux/arm64/v8"), 0);
	assert_int_equal(choose(index, "linux/s390x"), -ENOENT);
	assert_non_null(strstr(problem.text, "linux/arm64, linux/amd64"));
	assert_int_equal(choose(index, "linux"), -EINVAL);
	assert_int_equal(choose(index, "linux//"), -EINVAL);
}

static void this_machine_is_the_default_platform(void **state)
{
	(void)state;
	assert_int_equal(
		choose(INDEX(ENTRY("linux", "amd64") "," ENTRY("linux", "arm64") "," ENTRY("linux", "riscv64") "," ENTRY(
			       "linux",
			       "s390x") "," ENTRY("linux",
						  "ppc64le") "," ENTRY("linux",
								       "386") "," ENTRY("linux",
											"loong64") "," ENTRY("linux",
													     "arm")),
		       NULL) >= 0,
		1);
}

static void an_older_arm_variant_will_do_and_the_nearest_wins(void **state)
{
	static const char index[] =
		INDEX(ENTRY_VARIANT("arm", "v5") "," ENTRY_VARIANT("arm", "v6"));

	(void)state;
	assert_int_equal(choose(index, "linux/arm/v7"), 1);
	assert_int_equal(choose(index, "linux/arm/v5"), 0);
	assert_int_equal(choose(INDEX(ENTRY_VARIANT("arm", "v7")), "linux/arm/v6"), -ENOENT);
}

static void artifacts_and_attestations_are_never_chosen(void **state)
{
	static const char index[] =
		INDEX(ENTRY_HEAD ",\"artifactType\":\"" INTINODE_MEDIA_BLOBSET
				 "\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}"
				 "," ENTRY("unknown", "unknown"));
	static const char with_image[] = INDEX(
		ENTRY_HEAD ",\"artifactType\":\"" INTINODE_MEDIA_BLOBSET "\"}," ENTRY_HEAD "}");

	(void)state;
	assert_int_equal(choose(index, "linux/amd64"), -ENOENT);
	assert_non_null(strstr(problem.text, "none at all"));
	/* The only image of an index needs no platform. */
	assert_int_equal(choose(with_image, "linux/amd64"), 1);
}

static void diff_ids_of_a_config_come_in_order(void **state)
{
	static const char config[] = "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" HEX
				     "\"]}}";
	cleanup_free struct digest *digests = NULL;
	char text[DIGEST_TEXT_SIZE];
	size_t n;

	(void)state;
	assert_int_equal(oci_config_diff_ids(config, strlen(config), &digests, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(digest_format(&digests[0], text), "sha256:" HEX);
}

static void a_config_without_diff_ids_is_refused(void **state)
{
	static const char *const configs[] = {
		"{}",
		"{\"rootfs\":{\"type\":\"layers\"}}",
		"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}",
		"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:1\"]}}",
		"{\"rootfs\":{\"type\":\"other\",\"diff_ids\":[]}}",
		"[]",
		"",
	};
	struct digest *digests;
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		assert_int_equal(oci_config_diff_ids(configs[i], strlen(configs[i]), &digests, &n,
						     &problem),
				 -EBADMSG);
		assert_non_null(strstr(problem.text, "image config"));
	}
}

static void what_is_dumped_keeps_the_order_of_its_keys(void **state)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	cleanup_json json_t *value = oci_descriptor_json("a/b", &digest, 5000000000);
	cleanup_free char *text = NULL;
	size_t len;

	(void)state;
	text = oci_dump(value, &len);
	assert_string_equal(text, "{\"mediaType\":\"a/b\",\"digest\":\"sha256:"
				  "0000000000000000000000000000000000000000000000000000000000000000"
				  "\",\"size\":5000000000}");
	assert_int_equal(len, strlen(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_gives_its_config_and_layers),
		cmocka_unit_test(docker_schema_2_means_the_same),
		cmocka_unit_test(parameters_of_the_media_type_are_ignored),
		cmocka_unit_test(bytes_that_could_be_manifest_and_index_are_refused),
		cmocka_unit_test(the_type_inside_must_agree_with_the_transport),
		cmocka_unit_test(schema_1_is_named_as_such),
		cmocka_unit_test(a_broken_descriptor_is_refused_with_its_place),
		cmocka_unit_test(sizes_that_add_up_past_the_range_are_refused),
		cmocka_unit_test(there_is_a_limit_of_entries),
		cmocka_unit_test(what_is_not_strict_json_is_refused),
		cmocka_unit_test(a_thin_manifest_is_known_by_its_version),
		cmocka_unit_test(layer_types_give_their_compression),
		cmocka_unit_test(the_entry_that_fits_the_platform_is_chosen),
		cmocka_unit_test(this_machine_is_the_default_platform),
		cmocka_unit_test(an_older_arm_variant_will_do_and_the_nearest_wins),
		cmocka_unit_test(artifacts_and_attestations_are_never_chosen),
		cmocka_unit_test(diff_ids_of_a_config_come_in_order),
		cmocka_unit_test(a_config_without_diff_ids_is_refused),
		cmocka_unit_test(what_is_dumped_keeps_the_order_of_its_keys),
	};

	return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
