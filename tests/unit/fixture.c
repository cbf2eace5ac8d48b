/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the one server and client of a test program. */
#include "tests/unit/fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

struct fixture fx;

int file_with(const void *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_return_code(fd, errno);
	assert_int_equal(write_all(fd, bytes, len), 0);
	return fd;
}

/* An environment that would lead the client astray if it listened to it. */
static int set_traps(void)
{
	static const char netrc[] = "machine 127.0.0.1 login netrc password leaked\n";
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/.netrc", fx.server.dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write_all(fd, netrc, strlen(netrc)))
		return -1;
	close(fd);
	return setenv("HOME", fx.server.dir, 1) || setenv("http_proxy", "http://127.0.0.1:1", 1) ||
	       setenv("https_proxy", "http://127.0.0.1:1", 1) ||
	       setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
}

int fixture_setup(void **state)
{
	int r;

	if (badserver_start(&fx.server) || set_traps())
		return -1;
	snprintf(fx.host, sizeof(fx.host), "127.0.0.1:%u", fx.server.port);
	snprintf(fx.other_host, sizeof(fx.other_host), "127.0.0.1:%u", fx.server.other_port);
	for (size_t i = 0; i < BLOB_SIZE; i++)
		fx.blob[i] = (char)("0123456789abcdef"[i * 7 % 16] ^ (char)(i / 1000 % 8));
	if (digest_compute(DIGEST_SHA256, fx.blob, BLOB_SIZE, &fx.digest))
		return -1;
	digest_format(&fx.digest, fx.digest_text);
	fx.blob_fd = file_with(fx.blob, BLOB_SIZE);
	if (fixture_client(state))
		return -1;
	r = registry_put_blob(fx.registry, fx.host, "ok/app", &fx.digest, fx.blob_fd, BLOB_SIZE,
			      NULL, NULL, &fx.problem);
	fixture_drop_client(state);
	return r;
}

int fixture_teardown(void **state)
{
	(void)state;
	close(fx.blob_fd);
	badserver_stop(&fx.server);
	return 0;
}

int fixture_client(void **state)
{
	const struct registry_options options = {
		.no_auth_file = true,
		.stall_timeout_ms = STALL_MS,
		.retries = RETRIES,
	};

	(void)state;
	fx.problem.text[0] = '\0';
	badserver_mark(&fx.server);
	return registry_new(&options, &fx.registry, &fx.problem);
}

int fixture_drop_client(void **state)
{
	(void)state;
	registry_free(fx.registry);
	free(fx.got.bytes);
	fx.got = (struct received){ .len = 0 };
	return 0;
}

void fixture_login(const char *password)
{
	assert_int_equal(registry_set_credentials(fx.registry, fx.host, "bob", password), 0);
}

int sink_keep(void *context, const void *bytes, size_t len)
{
	struct received *received = context;
	char *bigger = realloc(received->bytes, received->len + len);

	if (!bigger)
		return -ENOMEM;
	memcpy(bigger + received->len, bytes, len);
	received->bytes = bigger;
	received->len += len;
	return 0;
}

int get(const char *repository)
{
	fx.got.len = 0;
	fx.problem.text[0] = '\0';
	return registry_get_blob(fx.registry, fx.host, repository, &fx.digest, BLOB_SIZE, sink_keep,
				 &fx.got, &fx.problem);
}

bool got_blob(void)
{
	return fx.got.len == BLOB_SIZE && !memcmp(fx.got.bytes, fx.blob, BLOB_SIZE);
}

unsigned int count(unsigned int port, const char *method, const char *path)
{
	return badserver_count(&fx.server, &(struct badserver_filter){
						   .port = port, .method = method, .path = path });
}

unsigned int count_header(unsigned int port, const char *header, const char *value)
{
	return badserver_count(&fx.server, &(struct badserver_filter){ .port = port,
								       .header = header,
								       .value = value });
}

bool says(const char *part)
{
	return strstr(fx.problem.text, part) != NULL;
}
