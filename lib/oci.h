/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI image model: descriptors, manifests, indexes (OCI image specification 1.1), and
 * the docker schema 2 types that mean the same. Reading only looks; what is stored and
 * sent are always the original bytes.
 */
#pragma once

#include "lib/digest.h"
#include "lib/json.h"

#define OCI_MEDIA_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_MEDIA_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_MEDIA_EMPTY "application/vnd.oci.empty.v1+json"
#define OCI_MEDIA_LAYER "application/vnd.oci.image.layer.v1.tar"
#define OCI_MEDIA_LAYER_GZIP OCI_MEDIA_LAYER "+gzip"
#define OCI_MEDIA_LAYER_ZSTD OCI_MEDIA_LAYER "+zstd"
#define DOCKER_MEDIA_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_MEDIA_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_MEDIA_CONFIG "application/vnd.docker.container.image.v1+json"
#define DOCKER_MEDIA_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define DOCKER_MEDIA_LAYER_GZIP DOCKER_MEDIA_LAYER ".gzip"
#define INTINODE_MEDIA_BLOBSET "application/vnd.intinode.blobset.v1+json"
#define INTINODE_ANNOTATION_VERSION "org.intinode.version"
#define INTINODE_ANNOTATION_SOURCE "org.intinode.source"
#define INTINODE_ANNOTATION_SOURCE_SIZE "org.intinode.source.size"
#define INTINODE_ANNOTATION_STUBS "org.intinode.stubs"
#define INTINODE_ANNOTATION_BYTES "org.intinode.bytes"

struct problem;

enum {
	OCI_LAYERS_MAX = 1000,		/* of an image; overlayfs takes 500 */
	OCI_BLOBSET_LAYERS_MAX = 25000, /* that we write: FORMAT.md 3 */
	OCI_ENTRIES_MAX = 50000,	/* read, of a manifest or index: more than 4 MiB can hold */
};

enum oci_compression { OCI_UNCOMPRESSED, OCI_GZIP, OCI_ZSTD };

/* Strings are borrowed from the document it was read from. */
struct oci_descriptor {
	const char *media_type;
	struct digest digest;
	uint64_t size_bytes;
	const char *artifact_type; /* may be NULL */
	const json_t *annotations; /* may be NULL */
	/* platform, each may be NULL */
	const char *os, *architecture, *variant;
};

enum oci_kind { OCI_KIND_MANIFEST, OCI_KIND_INDEX };

/* A manifest or an index. */
struct oci_document {
	enum oci_kind kind;
	const char *media_type;		/* as given by the transport or the document */
	const char *artifact_type;	/* may be NULL */
	struct oci_descriptor config;	/* manifest */
	struct oci_descriptor *entries; /* layers of a manifest, manifests of an index */
	size_t n_entries;
	bool has_subject;
	struct oci_descriptor subject;
	const json_t *annotations; /* may be NULL */
	json_t *json;		   /* owned: everything above points into it */
};

/**
 * oci_document_parse() - read a manifest or index of any supported type.
 * @media_type: from the transport; must agree with "mediaType" inside and with the
 * document's shape (CVE-2021-41190: bytes that could be read as both are refused).
 * Return: 0; -EBADMSG with @problem; -ENOTSUP for a type we do not know (schema 1).
 */
int oci_document_parse(const char *bytes, size_t len, const char *media_type,
		       struct oci_document *out, struct problem *problem) must_check;
void oci_document_free(struct oci_document *document);

/** oci_layer_compression() - of a layer's media type. Return: 0 or -ENOTSUP. */
int oci_layer_compression(const char *media_type, enum oci_compression *out) must_check;

/** oci_is_thin() - does it carry org.intinode.version that we can read? */
bool oci_is_thin(const struct oci_document *document);

/** oci_descriptor_json() - a new {"mediaType","digest","size"} object; NULL = no memory. */
json_t *oci_descriptor_json(const char *media_type, const struct digest *digest,
			    uint64_t size_bytes) must_check;

/**
 * oci_dump() - the canonical text we publish: keys in the order they were added, no
 * spaces. The caller frees it; sets *@lenp. NULL = no memory.
 */
char *oci_dump(const json_t *value, size_t *lenp) must_check;

/**
 * oci_config_diff_ids() - rootfs.diff_ids of an image config.
 * *@out is an array of *@n digests that the caller frees.
 */
int oci_config_diff_ids(const char *bytes, size_t len, struct digest **out, size_t *n,
			struct problem *problem) must_check;

/**
 * oci_select_platform() - the entry of an index that fits @platform, "os/arch[/variant]"; NULL or
 * "": this machine.
 * Blobsets and other artifacts are never chosen.
 * Return: 0, or -ENOENT with @problem that lists what there is.
 */
int oci_select_platform(const struct oci_document *index, const char *platform,
			const struct oci_descriptor **out, struct problem *problem) must_check;

static inline void cleanup_oci_documentp(struct oci_document *document)
{
	oci_document_free(document);
}

#define cleanup_oci_document __attribute__((cleanup(cleanup_oci_documentp)))
