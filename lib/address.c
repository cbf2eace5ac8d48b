/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the classes of IP addresses. No I/O; any thread. */
#include "lib/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

struct range {
	uint32_t address;
	unsigned int bits;
	enum address_class class;
};

/* IANA's special-purpose registry; the first match counts. */
static const struct range ranges[] = {
	{ 0x00000000, 8, ADDRESS_NEVER },	/* 0/8 */
	{ 0x7f000000, 8, ADDRESS_LOOPBACK },	/* 127/8 */
	{ 0xa9fe0000, 16, ADDRESS_LINK_LOCAL }, /* 169.254/16 */
	{ 0x0a000000, 8, ADDRESS_PRIVATE },	/* 10/8 */
	{ 0xac100000, 12, ADDRESS_PRIVATE },	/* 172.16/12 */
	{ 0xc0a80000, 16, ADDRESS_PRIVATE },	/* 192.168/16 */
	{ 0x64400000, 10, ADDRESS_PRIVATE },	/* 100.64/10, carrier NAT */
	{ 0xc0000000, 24, ADDRESS_PRIVATE },	/* 192.0.0/24, protocol assignments */
	{ 0xc6120000, 15, ADDRESS_PRIVATE },	/* 198.18/15, benchmarks */
	{ 0xe0000000, 3, ADDRESS_NEVER },	/* 224/4 multicast, 240/4 reserved */
};

static enum address_class classify_v4(uint32_t address)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		if ((address ^ ranges[i].address) >> (32 - ranges[i].bits) == 0)
			return ranges[i].class;
	}
	return ADDRESS_PUBLIC;
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum address_class classify_v6(const uint8_t *p)
{
	static const uint8_t zero[16], loopback[16] = { [15] = 1 };
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (!memcmp(p, zero, 16))
		return ADDRESS_NEVER;
	if (!memcmp(p, loopback, 16))
		return ADDRESS_LOOPBACK;
	/* ::a.b.c.d is long obsolete, but kernels still take it. */
	if (!memcmp(p, mapped, 12) || !memcmp(p, nat64, 12) || !memcmp(p, zero, 12))
		return classify_v4(get_be32(p + 12));
	if (p[0] == 0x20 && p[1] == 0x02)
		return classify_v4(get_be32(p + 2));
	if (p[0] == 0xff)
		return ADDRESS_NEVER;
	if (p[0] == 0xfe && (p[1] & 0xc0) == 0x80)
		return ADDRESS_LINK_LOCAL;
	if ((p[0] & 0xfe) == 0xfc || (p[0] == 0xfe && (p[1] & 0xc0) == 0xc0))
		return ADDRESS_PRIVATE;
	/* 64:ff9b:1::/48 is NAT64 for local use: what is behind it cannot be told. */
	if (!memcmp(p, nat64, 4) && p[4] == 0 && p[5] == 1)
		return ADDRESS_PRIVATE;
	return ADDRESS_PUBLIC;
}

enum address_class address_classify(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		return classify_v4(ntohl(in.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		return classify_v6(in6.sin6_addr.s6_addr);
	}
	return ADDRESS_NEVER;
}

enum address_class address_classify_text(const char *text)
{
	char buffer[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	struct in_addr in;
	size_t len;

	if (inet_pton(AF_INET, text, &in) == 1)
		return classify_v4(ntohl(in.s_addr));
	if (*text == '[')
		text++;
	len = strcspn(text, "]%");
	if (len >= sizeof(buffer))
		return ADDRESS_NEVER;
	memcpy(buffer, text, len);
	buffer[len] = '\0';
	if (inet_pton(AF_INET6, buffer, &in6) == 1)
		return classify_v6(in6.s6_addr);
	return ADDRESS_NEVER;
}

bool address_is_literal(const char *host)
{
	struct in_addr in;

	return *host == '[' || strchr(host, ':') || inet_pton(AF_INET, host, &in) == 1;
}

bool address_may_lead(enum address_class from, enum address_class to)
{
	if (to == ADDRESS_NEVER)
		return false;
	if (to == ADDRESS_LINK_LOCAL)
		return from == ADDRESS_LINK_LOCAL;
	return to >= from;
}
