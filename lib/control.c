/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns one connection to intinode-fetchd and what was read from it behind the last line.
 * Runs in the thread that opened it; receive blocks.
 */
#include "lib/control.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/log.h"

enum { RECEIVE_STEP = 16 * 1024 };

struct control {
	int fd;
	char *buffer; /* owned; at most CONTROL_LINE_MAX + RECEIVE_STEP bytes */
	size_t used, size;
};

/* What crosses the socket by name; the numbers differ between architectures. */
static const struct {
	int error;
	const char *name;
} errno_names[] = {
	{ -EIO, "EIO" },
	{ -ENOSPC, "ENOSPC" },
	{ -ETIMEDOUT, "ETIMEDOUT" },
	{ -ENOENT, "ENOENT" },
	{ -EACCES, "EACCES" },
	{ -EPERM, "EPERM" },
	{ -EINVAL, "EINVAL" },
	{ -EEXIST, "EEXIST" },
	{ -EBUSY, "EBUSY" },
	{ -ENOMEM, "ENOMEM" },
	{ -EAGAIN, "EAGAIN" },
	{ -EBADMSG, "EBADMSG" },
	{ -ENOTSUP, "ENOTSUP" },
	{ -EMSGSIZE, "EMSGSIZE" },
	{ -EHOSTUNREACH, "EHOSTUNREACH" },
	{ -ECANCELED, "ECANCELED" },
	{ -EROFS, "EROFS" },
	{ -EDQUOT, "EDQUOT" },
	{ -EMFILE, "EMFILE" },
	{ -ENODEV, "ENODEV" },
	{ -ENOTDIR, "ENOTDIR" },
	{ -ENAMETOOLONG, "ENAMETOOLONG" },
};

const char *control_errno_name(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(errno_names); i++) {
		if (errno_names[i].error == error)
			return errno_names[i].name;
	}
	return "EIO";
}

int control_errno_parse(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(errno_names); i++) {
		if (!strcmp(errno_names[i].name, name))
			return errno_names[i].error;
	}
	return -EIO;
}

static int connect_problem(int error, const char *path, struct problem *problem)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return problem_set(problem, -error,
				   "intinode-fetchd is not running (nothing answers at %s); start "
				   "it with 'systemctl start intinode-fetchd', or name its socket "
				   "in $INTINODE_SOCKET",
				   path);
	case EACCES:
	case EPERM:
		return problem_set(problem, -error,
				   "no permission for the socket of intinode-fetchd, %s; run this "
				   "as root",
				   path);
	default:
		return problem_set(problem, -error, "cannot connect to intinode-fetchd at %s: %s",
				   path, strerror(error));
	}
}

static int connect_with(const char *path, int socket_flags, struct control **out,
			struct problem *problem)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct control *control;

	if (!path)
		path = getenv("INTINODE_SOCKET");
	if (!path || !*path)
		path = CONTROL_SOCKET_DEFAULT;
	if (strlen(path) >= sizeof(address.sun_path))
		return problem_set(problem, -ENAMETOOLONG,
				   "the socket name %s is too long; the kernel takes %zu bytes",
				   path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
	if (control->fd < 0 ||
	    connect(control->fd, (const struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		control_close(control);
		return connect_problem(error, path, problem);
	}
	*out = control;
	return 0;
}

int control_connect(const char *path, struct control **out, struct problem *problem)
{
	return connect_with(path, 0, out, problem);
}

int control_connect_async(const char *path, struct control **out, struct problem *problem)
{
	return connect_with(path, SOCK_NONBLOCK, out, problem);
}

void control_close(struct control *control)
{
	if (!control)
		return;
	if (control->fd >= 0)
		close(control->fd);
	free(control->buffer);
	free(control);
}

int control_fd(const struct control *control)
{
	return control->fd;
}

int control_send(struct control *control, const json_t *request)
{
	cleanup_free char *text = json_dumps(request, JSON_COMPACT);
	size_t len, done = 0;

	if (!text)
		return -EINVAL;
	len = strlen(text);
	if (len + 1 > CONTROL_LINE_MAX)
		return -EMSGSIZE;
	text[len++] = '\n'; /* takes the place of the NUL */
	while (done < len) {
		ssize_t n = send(control->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return errno == ECONNRESET ? -EPIPE : -errno;
		}
		done += (size_t)n;
	}
	return 0;
}

/* Reads until the buffer holds a whole line; *@lenp is its length with the newline. */
static int receive_line(struct control *control, size_t *lenp)
{
	size_t searched = 0;

	for (;;) {
		char *newline = NULL;
		ssize_t n;

		if (control->used > searched)
			newline =
				memchr(control->buffer + searched, '\n', control->used - searched);
		if (newline) {
			*lenp = (size_t)(newline - control->buffer) + 1;
			return *lenp <= CONTROL_LINE_MAX ? 0 : -EBADMSG;
		}
		searched = control->used;
		if (control->used >= CONTROL_LINE_MAX)
			return -EBADMSG;
		if (control->size - control->used < RECEIVE_STEP) {
			size_t size = control->size * 2 + RECEIVE_STEP;
			char *bigger = realloc(control->buffer, size);

			if (!bigger)
				return -ENOMEM;
			control->buffer = bigger;
			control->size = size;
		}
		n = recv(control->fd, control->buffer + control->used,
			 control->size - control->used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == ECONNRESET ? -EPIPE : -errno;
		if (n == 0)
			return -EPIPE;
		control->used += (size_t)n;
	}
}

int control_receive(struct control *control, json_t **reply)
{
	json_t *value;
	size_t len = 0;
	int r = receive_line(control, &len);

	if (r)
		return r;
	r = json_parse(control->buffer, len - 1, &value, NULL);
	control->used -= len;
	memmove(control->buffer, control->buffer + len, control->used);
	if (r)
		return r;
	if (!json_is_object(value)) {
		json_decref(value);
		return -EBADMSG;
	}
	*reply = value;
	return 0;
}

int control_call(struct control *control, const json_t *request, json_t **reply,
		 struct problem *problem)
{
	cleanup_json json_t *answer = NULL;
	const char *text;
	int r;

	r = control_send(control, request);
	if (!r)
		r = control_receive(control, &answer);
	if (r == -EPIPE)
		return problem_set(problem, r,
				   "intinode-fetchd went away before it answered; "
				   "'journalctl -u intinode-fetchd' says why");
	if (r == -EBADMSG)
		return problem_set(problem, r,
				   "what answers on the socket does not speak the protocol of "
				   "intinode-fetchd");
	if (r)
		return problem_set(problem, r, "talking to intinode-fetchd: %s", strerror(-r));
	if (json_is_true(json_object_get(answer, "ok"))) {
		if (reply)
			*reply = steal_ptr(answer);
		return 0;
	}
	r = control_errno_parse(json_get_string(answer, "error"));
	text = json_get_string(answer, "problem");
	if (text) {
		char shown[PROBLEM_MAX];

		return problem_set(problem, r, "%s",
				   log_escape(shown, sizeof(shown), text, strlen(text)));
	}
	return problem_set(problem, r, "intinode-fetchd answered with an error: %s",
			   control_errno_name(r));
}
