/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the server show of themselves: /metrics, /healthz, /readyz. */
#pragma once

#include "server/http.h"

/** monitor_register() - the gauges of @services and @server. Both outlive every request. */
void monitor_register(struct services *services, struct server *server);
