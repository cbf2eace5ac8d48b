/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses a server may send us to (SAFETY.md threats 1 to 3).
 *
 * Addresses fall into classes that reach ever wider. Who redirects us may name a target of
 * its own class or a wider one: a registry on this host may point to the internet, one
 * on the internet may not point to this host or this network.
 */
#pragma once

#include "lib/util.h"

struct sockaddr;

enum address_class {
	ADDRESS_NEVER, /* unspecified, multicast, broadcast, reserved, not IP */
	ADDRESS_LOOPBACK,
	ADDRESS_LINK_LOCAL, /* also where clouds keep instance credentials */
	ADDRESS_PRIVATE,
	ADDRESS_PUBLIC,
};

/** address_classify() - IPv4 inside IPv6 (mapped, NAT64, 6to4) counts as the IPv4 address. */
enum address_class address_classify(const struct sockaddr *address);

/** address_classify_text() - "127.0.0.1", "::1", "[::1]"; ADDRESS_NEVER for anything else. */
enum address_class address_classify_text(const char *text);

/** address_is_literal() - is @host (without port, IPv6 with or without brackets) an address? */
bool address_is_literal(const char *host);

/** address_may_lead() - may a server of class @from send us to an address of class @to? */
bool address_may_lead(enum address_class from, enum address_class to);
