/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how a listening socket is made. Called at start-up. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/log.h"

char *address_format(const struct sockaddr *address, char out[static ADDRESS_TEXT_SIZE])
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(v4->sin_port));
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		snprintf(out, ADDRESS_TEXT_SIZE, "?");
	}
	return out;
}

/* Cut "HOST:PORT" in place. */
static bool split(char *text, const char **host, const char **port)
{
	char *colon = strrchr(text, ':');

	if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
		return false;
	*colon = '\0';
	*port = colon + 1;
	*host = *text ? text : NULL;
	if (*text == '[') {
		if (colon == text + 1 || colon[-1] != ']')
			return false;
		colon[-1] = '\0';
		*host = text + 1;
	} else if (strchr(text, ':')) {
		return false;
	}
	return strlen(*port) <= 5 && strtoul(*port, NULL, 10) <= 65535;
}

static int try_address(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
	int zero = 0, r;

	if (fd < 0)
		return -errno;
	/* A restart must not wait for connections of the last run to time out. */
	r = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!r && info->ai_family == AF_INET6)
		r = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (!r)
		r = bind(fd, info->ai_addr, info->ai_addrlen);
	if (!r)
		r = listen(fd, SOMAXCONN);
	if (!r)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* @host, @port: point into @copy, which is changed. */
static int parse(const char *text, char *copy, const char **host, const char **port,
		 struct problem *problem)
{
	if (!copy)
		return -ENOMEM;
	if (split(copy, host, port))
		return 0;
	return problem_set(problem, -EINVAL,
			   "'%s' is not HOST:PORT, as in 127.0.0.1:5000, [::1]:5000 or :5000 for "
			   "every address",
			   text);
}

int listen_check(const char *text, struct problem *problem)
{
	cleanup_free char *copy = strdup(text);
	const char *host, *port;

	return parse(text, copy, &host, &port, problem);
}

int listen_open(const char *text, char actual[static ADDRESS_TEXT_SIZE], struct problem *problem)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	cleanup_free char *copy = strdup(text);
	const char *host, *port;
	int fd = -EADDRNOTAVAIL, r = parse(text, copy, &host, &port, problem);

	if (r)
		return r;
	r = getaddrinfo(host, port, &hints, &list);
	if (r)
		return problem_set(problem, -EADDRNOTAVAIL, "%s: %s", text, gai_strerror(r));
	/* With no host, one IPv6 socket serves IPv4 too. */
	for (int pass = host ? 1 : 0; pass < 2 && fd < 0; pass++) {
		for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
			if (pass == 1 || info->ai_family == AF_INET6)
				fd = try_address(info);
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return problem_set(problem, fd, "%s: cannot listen there: %s", text, strerror(-fd));
	if (getsockname(fd, (struct sockaddr *)&address, &len)) {
		r = -errno;
		close(fd);
		return r;
	}
	address_format((struct sockaddr *)&address, actual);
	return fd;
}
