/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the form of the messages: what comes from the other side is checked here. */
#include "lib/dial.h"

#include "lib/fdpass.h"

int dial_ask(int sock, uint32_t id, const char *host, unsigned int port, enum address_class led_by,
	     unsigned int timeout_ms)
{
	struct dial_request request = { .id = id, .timeout_ms = timeout_ms, .led_by = led_by };
	size_t len;

	if (*host == '[') /* as in a URL */
		host++;
	len = strcspn(host, "]");
	if (len == 0 || len >= sizeof(request.host) || port == 0 || port > UINT16_MAX)
		return -EINVAL;
	memcpy(request.host, host, len);
	request.port = (uint16_t)port;
	return fdpass_send(sock, &request, sizeof(request), -1);
}

/* Return: 1, or as dial_receive(). */
static int receive(int sock, void *message, size_t size, int *fd)
{
	ssize_t n;

	*fd = -1;
	n = fdpass_receive(sock, message, size, fd);
	if (n <= 0)
		return n == -EMSGSIZE ? -EBADMSG : (int)n;
	if ((size_t)n == size)
		return 1;
	if (*fd >= 0)
		close(steal_fd(fd));
	return -EBADMSG;
}

int dial_receive(int sock, struct dial_answer *out, int *fd)
{
	int r = receive(sock, out, sizeof(*out), fd);

	if (r <= 0)
		return r;
	out->problem[sizeof(out->problem) - 1] = '\0';
	if ((out->error == 0) == (*fd >= 0) && out->error <= 0 && out->class <= ADDRESS_PUBLIC)
		return 1;
	if (*fd >= 0)
		close(steal_fd(fd));
	return -EBADMSG;
}

static bool is_host(const char *host, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (host[i] <= ' ' || host[i] > '~')
			return false;
	}
	return len > 0;
}

int dial_receive_request(int sock, struct dial_request *out)
{
	int fd, r = receive(sock, out, sizeof(*out), &fd);

	if (fd >= 0)
		close(fd);
	if (r <= 0)
		return r;
	if (out->host[sizeof(out->host) - 1] != '\0' || !is_host(out->host, strlen(out->host)) ||
	    out->port == 0 || out->led_by > ADDRESS_PUBLIC)
		return -EBADMSG;
	return 1;
}

int dial_send(int sock, const struct dial_answer *answer, int fd)
{
	return fdpass_send(sock, answer, sizeof(*answer), fd);
}
