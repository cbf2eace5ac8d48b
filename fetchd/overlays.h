/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlays that show files of the cache. They remember each file that they looked up, evicted
 * or not: until they forget it, it takes its room, and is what an open gets.
 */
#pragma once

/**
 * overlays_forget() - all overlays of this mount namespace that have @directory, or what is below
 * it, among their layers forget what nobody uses. Blocks; any thread.
 */
void overlays_forget(const char *directory);
