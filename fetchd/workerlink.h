/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's side of the network worker: a process of its own that has sockets and
 * no files, and of its dialer (dialer.h), which makes its connections. Jobs go to it as messages,
 * each with the write end of a pipe for the bytes; results come back as messages. A worker that
 * dies is replaced at once, with its dialer, and what it was working on is reported as -EPIPE, to
 * be asked for again.
 *
 * Messages are JSON in SOCK_SEQPACKET datagrams of at most WORKER_MESSAGE_MAX bytes:
 *   at its start    {"host","plain_http":bool,"insecure":bool,"ca_file"}, any number;
 * {"begin":true} to the worker   {"id":N,"host","repository"|"url","digest","size":N,"offset":N,
 *                    "deadline_ms":N,"user","password","s3_region","namespace"}
 *                   {"cancel":N}
 *   from it         {"ready":true}, once, when it has given up its privileges
 *                   {"id":N,"error":-errno,"problem":"…","wire_bytes":N,"retry_after_ms":N}
 */
#pragma once

#include "fetchd/source.h"

struct event_base;
struct workerlink;

enum { WORKER_MESSAGE_MAX = 16 * 1024, WORKER_SOCKET_FD = 3, WORKER_DIALER_FD = 4 };

struct worker_result {
	int error; /* 0 or negative errno */
	const char *problem;
	uint64_t wire_bytes;
	int64_t retry_after_ms; /* -1: not said */
	bool worker_died;	/* error: -EPIPE */
	bool is_suspect;	/* and it was at work then: this job may be why */
};

struct worker_job {
	uint64_t id; /* set by workerlink_submit() */
	/* Called once, unless the job was cancelled. Loop thread. */
	void (*result)(struct worker_job *job, const struct worker_result *result);
	struct worker_job *next, **prev; /* workerlink's */
};

/**
 * workerlink_new() - start the worker and its dialer. @options is borrowed for the link's life, and
 * so is @network_fd, a descriptor of the network that the dialer works in; -1: in this process's.
 */
int workerlink_new(struct event_base *base, const struct options *options, int network_fd,
		   struct workerlink **out) must_check;
/** workerlink_new_like() - another worker, with the same settings, whose bytes @link counts. */
int workerlink_new_like(struct workerlink *link, struct workerlink **out) must_check;
/** workerlink_free() - not from a result(). */
void workerlink_free(struct workerlink *link);

/**
 * workerlink_submit() - fetch @digest from @source, from byte @offset on, into @pipe_fd
 * (which the caller may close afterwards).
 * Return: 0, or negative errno (-EAGAIN: the worker has too much to do).
 */
int workerlink_submit(struct workerlink *link, struct worker_job *job, const struct source *source,
		      const struct digest *digest, uint64_t size_bytes, uint64_t offset,
		      int64_t deadline_ms, int pipe_fd) must_check;

/** workerlink_cancel() - no result will come; the worker ends the transfer. */
void workerlink_cancel(struct workerlink *link, struct worker_job *job);

/**
 * workerlink_forget() - its result is of no interest any more. The worker may finish, and its
 * connection be used again.
 */
void workerlink_forget(struct workerlink *link, struct worker_job *job);

/** workerlink_pid() - of the present worker, or -1. */
pid_t workerlink_pid(const struct workerlink *link);

/** workerlink_wire_bytes() - received by all workers so far, as encoded. */
uint64_t workerlink_wire_bytes(const struct workerlink *link);

/** worker_main() - the worker process itself, on socket @fd; WORKER_DIALER_FD is open, too. */
int worker_main(int fd) must_check;
