/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the order of a layer's pieces. One thread pushes, one takes, any thread settles. */
#include "client/thickqueue.h"

void thick_queue_init(struct thick_queue *queue)
{
	*queue = (struct thick_queue){ .n = 0 };
	queue->last = &queue->first;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->changed, NULL);
	failure_init(&queue->failure);
}

void thick_queue_deinit(struct thick_queue *queue)
{
	struct segment *segment;

	while ((segment = queue->first)) {
		queue->first = segment->next;
		segment_free(segment);
	}
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->lock);
}

struct segment *segment_new(struct thick_queue *queue)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (!segment)
		return NULL;
	segment->queue = queue;
	segment->content = CONTENT_EMPTY;
	return segment;
}

void segment_free(struct segment *segment)
{
	if (!segment)
		return;
	content_free(&segment->content);
	free(segment->raw);
	free(segment->path);
	free(segment);
}

void segment_settle(struct segment *segment, int error)
{
	struct thick_queue *queue = segment->queue;

	pthread_mutex_lock(&queue->lock);
	segment->ready = true;
	segment->error = error;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

int thick_queue_push(struct thick_queue *queue, struct segment *segment)
{
	int r;

	pthread_mutex_lock(&queue->lock);
	while (!queue->error &&
	       (queue->n >= SEGMENTS_MAX ||
		(queue->n && queue->bytes + segment->size_bytes > SEGMENT_BYTES_MAX)))
		pthread_cond_wait(&queue->changed, &queue->lock);
	r = queue->error;
	if (!r) {
		*queue->last = segment;
		queue->last = &segment->next;
		queue->n++;
		queue->bytes += segment->size_bytes;
		pthread_cond_broadcast(&queue->changed);
	}
	pthread_mutex_unlock(&queue->lock);
	if (r)
		segment_free(segment);
	return r;
}

int thick_queue_next(struct thick_queue *queue, struct segment **out)
{
	struct segment *segment;
	int r = 1;

	pthread_mutex_lock(&queue->lock);
	for (;;) {
		segment = queue->first;
		if (queue->error) {
			r = queue->error;
			break;
		}
		if (segment && segment->ready) {
			r = segment->error ? segment->error : 1;
			break;
		}
		if (!segment && queue->ended) {
			r = 0;
			break;
		}
		pthread_cond_wait(&queue->changed, &queue->lock);
	}
	if (r == 1) {
		queue->first = segment->next;
		if (!queue->first)
			queue->last = &queue->first;
		queue->n--;
		queue->bytes -= segment->size_bytes;
		pthread_cond_broadcast(&queue->changed);
		*out = segment;
	}
	pthread_mutex_unlock(&queue->lock);
	return r;
}

void thick_queue_fail(struct thick_queue *queue, int error, const struct problem *problem)
{
	failure_set(&queue->failure, error, problem);
	pthread_mutex_lock(&queue->lock);
	if (!queue->error)
		queue->error = error;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

void thick_queue_end(struct thick_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->ended = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}
