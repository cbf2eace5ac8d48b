/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that another process makes: who parses what comes from the network asks for a
 * connected socket by a host's name, and cannot make one. One datagram of SOCK_SEQPACKET (unix(7))
 * a question, and one an answer, with the socket.
 *
 * Context: any thread, one at a time on a socket.
 */
#pragma once

#include <sys/socket.h>

#include "lib/address.h"

enum {
	DIAL_HOST_SIZE = 256, /* RFC 1035: 255 bytes */
	DIAL_PROBLEM_SIZE = 200,
};

struct dial_request {
	uint32_t id; /* chosen by who asks; answers come in any order */
	uint32_t timeout_ms;
	uint16_t port;
	/*
	 * As in struct http_request: of the server that led there; ADDRESS_NEVER: a person named
	 * the host, which who answers knows, or does not.
	 */
	uint16_t led_by;
	char host[DIAL_HOST_SIZE]; /* a name, or an IP address without brackets; NUL-terminated */
};

struct dial_answer {
	uint32_t id;
	/*
	 * 0: a socket comes with it. -EACCES: the address is one that this may not lead to;
	 * -ENOENT: the name has no address; -ETIMEDOUT, -ECONNREFUSED, another errno of connect(2)
	 */
	int32_t error;
	uint32_t class;			 /* of the address, enum address_class */
	char problem[DIAL_PROBLEM_SIZE]; /* error: for a person; NUL-terminated */
};

/** dial_ask() - Return: 0; -EINVAL (no host name); -EAGAIN (too many questions); -errno. */
int dial_ask(int sock, uint32_t id, const char *host, unsigned int port, enum address_class led_by,
	     unsigned int timeout_ms) must_check;

/**
 * dial_receive() - the next answer. *@fd: owned by the caller, -1 where error is set.
 * Return: 1; 0 when the other side is gone; -EAGAIN; -EBADMSG (no answer at all); -errno.
 */
int dial_receive(int sock, struct dial_answer *out, int *fd) must_check;

/** dial_receive_request() - the other side's. Return: as dial_receive(). */
int dial_receive_request(int sock, struct dial_request *out) must_check;

/** dial_send() - an answer. @fd: -1 where answer->error is set. The caller keeps it. */
int dial_send(int sock, const struct dial_answer *answer, int fd) must_check;
