/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket of intinode-fetchd (/run/intinode/fetchd.sock, mode 0600), and a
 * blocking client of it. This header is the protocol's documentation (FORMAT.md 6).
 *
 * A stream socket; each message is one JSON object on one line, at most
 * CONTROL_LINE_MAX bytes with its newline. One request at a time on a connection, each
 * answered by one line: {"ok":true, …} or {"ok":false, "error":"EIO", "problem":"text for
 * a person"}. Closing the connection withdraws a request that waits. Try it:
 *     echo '{"op":"status"}' | socat - UNIX-CONNECT:/run/intinode/fetchd.sock
 *
 * {"op":"ping"}
 *     answers {"ok":true,"version":"0.1.0","pid":N,"cache":"DIR","state":"DIR","run":"DIR",
 *     "deadline_ms":N}.
 * {"op":"fetch","digest":"sha256:…","size":N,"urls":["…"],"mount":"ID","source":"REFERENCE",
 *  "timeout_ms":N}
 *     Answers when the blob is in the cache, or cannot be had. "urls" (hints), "mount" (id of a
 *     mount or of its image, whose sources may be used), "source" (docker://HOST/REPO or oci:DIR,
 *     as at "register") and "timeout_ms" (default: the configured deadline) may be missing. Errors:
 * EIO, ENOSPC, ETIMEDOUT; an application sees EIO or ENOSPC only.
 * {"op":"register","mount":{"id","reference","source","frontend","mountpoint","image",
 *                           "layers":["…"],"upper","work","lower","pid"}}
 *     fetchd remembers the mount (durably, for "intinode mount --restore") and serves its
 *     misses. "source" is where blobs come from, as a reference: docker://HOST/REPO or
 *     oci:DIR; "layers" name stub tables under STATE/layers. Answers
 *     {"ok":true,"miss":"PATH","new":bool} when it is on disk; "miss" (front end overlay) is the
 *     image's miss layer, "new" that it was mounted for this: older overlays cannot use it.
 * {"op":"unregister","id":"ID"}
 * {"op":"mounts"}
 *     answers {"ok":true,"mounts":[…as registered…]}.
 * {"op":"status"}
 *     answers {"ok":true,"version","pid","worker_pid","uptime_ms","cache":{"path","files",
 *     "bytes" in whole blocks,"max_bytes" or null,"free_bytes","min_free_bytes","evicted_files",
 *     "evicted_bytes","walking":bool: not all was
 *     counted yet,"scrub":{"files","bad"} or
 * null},"fetched":{"files","bytes","wire_bytes","errors"},"waiting":[{"digest",
 *     "size","waiters","since_ms","source","problem"}],"mounts":[…],"failing":[{"host",
 *     "failures","open_ms"}],"suspects":[{"digest","deaths","quarantine_ms"}],
 *     "suspect_worker_pid","state":"DIR","run":"DIR"}. Pids are null where there is no process.
 * {"op":"why","digest":"sha256:…"}
 *     answers {"ok":true,"digest","cached":bool,"uptime_ms","events":[{"at_ms" since 1970,
 *     "what","source","problem","took_ms","bytes"}]}: what was done lately, the oldest first.
 *     "what" is asked, attempt (with "problem": it failed), retry (in took_ms), published,
 *     failed, or dropped (nobody waited any more).
 * {"op":"prefetch","blobs":[["sha256:…",SIZE],…],"source":"REFERENCE"}
 *     Fetches them in this order, when no program waits for another file. Answers {"ok":true,
 *     "fetched":N,"cached":N (were there),"failed":N,"bytes":N,"problem":"… of the last failure"}.
 * {"op":"evict","bytes":N}
 *     Evicts so many bytes of the cache, those of the least value first; without "bytes" all that
 *     nobody has open and that is not pinned. Answers {"ok":true,"files":N,"bytes":N} when that is
 *     done, EBUSY while another does it.
 * {"op":"discard","digest":"sha256:…"}
 *     A damaged file goes out of the way; the next open fetches it.
 * {"op":"pin","name":"…","digests":["sha256:…"],"more":bool}
 *     What "name" stands for stays in the cache, or comes to stay: in place of what it stood for.
 * With "more" nothing is done yet: the next "pin" on this connection has more of it. Answers
 *     {"ok":true,"digests":N}.
 * {"op":"unpin","name":"…"}; {"op":"pins"} answers {"ok":true,"pins":[{"name","digests":N}]}.
 */
#pragma once

#include "lib/json.h"

#define CONTROL_SOCKET_DEFAULT "/run/intinode/fetchd.sock"

enum { CONTROL_LINE_MAX = 1024 * 1024 };

struct control;

/**
 * control_connect() - @path NULL: $INTINODE_SOCKET, else CONTROL_SOCKET_DEFAULT.
 * Return: 0, or negative errno with @problem that says how to start the daemon.
 * A connection belongs to one thread. Free with control_close().
 */
int control_connect(const char *path, struct control **out, struct problem *problem) must_check;

/**
 * control_connect_async() - the same for an event loop: nothing blocks. -EAGAIN when fetchd
 * does not accept at the moment; control_receive() is then to be called when the descriptor
 * is readable, and returns -EAGAIN, keeping what came, until there is a whole line.
 */
int control_connect_async(const char *path, struct control **out,
			  struct problem *problem) must_check;
void control_close(struct control *control);

/** control_fd() - to poll for a hang-up while a call waits. Borrowed. */
int control_fd(const struct control *control);

/**
 * control_send(), control_receive() - one line each way; receive blocks.
 * Return: 0; -EPIPE when the daemon went away; -EBADMSG; -errno.
 */
int control_send(struct control *control, const json_t *request) must_check;
int control_receive(struct control *control, json_t **reply) must_check;

/**
 * control_call() - send, receive, and turn {"ok":false} into its negative errno with @problem.
 * @reply: may be NULL; owned by the caller.
 */
int control_call(struct control *control, const json_t *request, json_t **reply,
		 struct problem *problem) must_check;

/** control_errno_name() - "EIO" for -EIO; what is not in the table is "EIO". */
const char *control_errno_name(int error);

/** control_errno_parse() - -EIO for "EIO"; an unknown name is -EIO. */
int control_errno_parse(const char *name);
