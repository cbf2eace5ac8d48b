/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the client's side of the control protocol, as far as mounts need it. */
#include "client/host.h"

#include <fcntl.h>
#include <string.h>

#include "lib/log.h"

static int copy_member(const json_t *object, const char *key, char **out)
{
	const char *text = json_get_string(object, key);

	if (!text)
		return -EBADMSG;
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

int host_open(const char *socket, struct host *out, struct problem *problem)
{
	struct host host = { .layers_fd = -1, .socket = socket };
	cleanup_json json_t *request = json_pack("{s:s}", "op", "ping");
	cleanup_json json_t *reply = NULL;
	cleanup_free char *layers = NULL;
	int r = control_connect(socket, &host.control, problem);

	if (!r)
		r = control_call(host.control, request, &reply, problem);
	if (!r &&
	    (copy_member(reply, "cache", &host.cache) || copy_member(reply, "state", &host.state) ||
	     copy_member(reply, "run", &host.run)))
		r = problem_set(problem, -EBADMSG, "fetchd gave an answer of another version");
	if (!r) {
		host.deadline_ms =
			(unsigned int)json_integer_value(json_object_get(reply, "deadline_ms"));
		layers = format_text("%s/layers", host.state);
		host.layers_fd = layers ? open(layers, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		if (host.layers_fd < 0)
			r = problem_set(problem, -errno, "%s: %s; mounting needs root", layers,
					strerror(errno));
	}
	if (r) {
		host_close(&host);
		return r;
	}
	*out = host;
	return 0;
}

void host_close(struct host *host)
{
	control_close(host->control);
	free(host->cache);
	free(host->state);
	free(host->run);
	if (host->layers_fd >= 0)
		close(host->layers_fd);
	*host = (struct host){ .layers_fd = -1 };
}

int host_register(struct host *host, json_t *record, char **miss, bool *fresh,
		  struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s, s:O}", "op", "register", "mount", record);
	cleanup_json json_t *reply = NULL;
	const char *path;
	int r = request ? control_call(host->control, request, &reply, problem) : -ENOMEM;

	if (r)
		return r;
	path = json_get_string(reply, "miss");
	*miss = path ? strdup(path) : NULL;
	*fresh = path && json_is_true(json_object_get(reply, "new"));
	return path && !*miss ? -ENOMEM : 0;
}

int host_unregister(struct host *host, const char *id, struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s, s:s}", "op", "unregister", "id", id);

	return request ? control_call(host->control, request, NULL, problem) : -ENOMEM;
}

int host_mounts(struct host *host, json_t **out, struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s}", "op", "mounts");
	cleanup_json json_t *reply = NULL;
	json_t *mounts;
	int r = request ? control_call(host->control, request, &reply, problem) : -ENOMEM;

	if (r)
		return r;
	mounts = json_object_get(reply, "mounts");
	if (!json_is_array(mounts))
		return problem_set(problem, -EBADMSG, "fetchd gave an answer of another version");
	*out = json_incref(mounts);
	return 0;
}
