/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the rule which token service a registry may name. No I/O; any thread. */
#include <string.h>
#include <strings.h>

#include "lib/token.h"

/*
 * Under "co.uk" anybody has a name, so it joins nobody. A list of all such suffixes is
 * beyond us; two letters behind at most three are taken for one.
 */
static bool is_shared_by_strangers(const char *domain)
{
	const char *dot = strchr(domain, '.');

	if (!dot || !dot[1])
		return true;
	if (strchr(dot + 1, '.'))
		return false;
	return strlen(dot + 1) == 2 && dot - domain <= 3;
}

static const char *parent_domain(const char *host)
{
	const char *dot = strchr(host, '.');

	return dot ? dot + 1 : "";
}

static bool is_below(const char *host, const char *domain)
{
	size_t host_len = strlen(host), domain_len = strlen(domain);

	return host_len > domain_len && host[host_len - domain_len - 1] == '.' &&
	       !strcmp(host + host_len - domain_len, domain);
}

/* auth.example.com, example.com and registry.example.com belong together. */
static bool share_domain(const char *a, const char *b)
{
	const char *domain;

	if (is_below(a, b))
		domain = b;
	else if (is_below(b, a))
		domain = a;
	else if (!strcmp(parent_domain(a), parent_domain(b)))
		domain = parent_domain(a);
	else
		return false;
	return !is_shared_by_strangers(domain);
}

static bool is_inside(const char *host)
{
	return address_is_literal(host) || host_is_loopback(host) || !strchr(host, '.') ||
	       is_below(host, "localhost");
}

enum token_realm token_realm_policy(const struct origin *registry, const struct origin *realm)
{
	bool same_host = !strcmp(registry->host, realm->host);

	if (registry->https && !realm->https)
		return TOKEN_REALM_REFUSED;
	if (same_host)
		return TOKEN_REALM_TRUSTED;
	if (!realm->https || is_inside(realm->host))
		return TOKEN_REALM_REFUSED;
	if (address_is_literal(registry->host) || !share_domain(registry->host, realm->host))
		return TOKEN_REALM_ANONYMOUS;
	return TOKEN_REALM_TRUSTED;
}
