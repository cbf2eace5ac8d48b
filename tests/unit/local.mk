EXTRA_DIST += %D%/test.h

if HAVE_CMOCKA
unit_tests = \
	%D%/test-access \
	%D%/test-auth \
	%D%/test-blob \
	%D%/test-breaker \
	%D%/test-challenge \
	%D%/test-compress \
	%D%/test-config \
	%D%/test-control \
	%D%/test-dial \
	%D%/test-follower \
	%D%/test-fuse-node \
	%D%/test-fetch \
	%D%/test-hot \
	%D%/test-verified \
	%D%/test-jwt \
	%D%/test-layout \
	%D%/test-oci \
	%D%/test-origin \
	%D%/test-pack \
	%D%/test-pins \
	%D%/test-policy \
	%D%/test-pool \
	%D%/test-index \
	%D%/test-quota \
	%D%/test-range \
	%D%/test-registry \
	%D%/test-route \
	%D%/test-gc \
	%D%/test-store \
	%D%/test-stub \
	%D%/test-suspects \
	%D%/test-syscalls \
	%D%/test-tarstream \
	%D%/test-thin

check_PROGRAMS += $(unit_tests)
UNIT_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -DTEST_DATA='"$(abs_top_srcdir)/tests/data"'
UNIT_LIBS = $(LIBINTINODE_LIBS) $(CMOCKA_LIBS)

%C%_test_access_SOURCES = %D%/test-access.c
%C%_test_access_CFLAGS = $(UNIT_CFLAGS)
%C%_test_access_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_jwt_SOURCES = %D%/test-jwt.c
%C%_test_jwt_CFLAGS = $(UNIT_CFLAGS)
%C%_test_jwt_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_breaker_SOURCES = %D%/test-breaker.c
%C%_test_breaker_CFLAGS = $(UNIT_CFLAGS)
%C%_test_breaker_LDADD = fetchd/libfetchd.a $(UNIT_LIBS)

%C%_test_suspects_SOURCES = %D%/test-suspects.c
%C%_test_suspects_CFLAGS = $(UNIT_CFLAGS)
%C%_test_suspects_LDADD = fetchd/libfetchd.a $(UNIT_LIBS)

%C%_test_syscalls_SOURCES = %D%/test-syscalls.c
%C%_test_syscalls_CFLAGS = $(UNIT_CFLAGS)
%C%_test_syscalls_LDADD = fetchd/libfetchd.a $(UNIT_LIBS) $(SECCOMP_LIBS)

%C%_test_pins_SOURCES = %D%/test-pins.c
%C%_test_pins_CFLAGS = $(UNIT_CFLAGS)
%C%_test_pins_LDADD = fetchd/libfetchd.a $(UNIT_LIBS) -lm

%C%_test_policy_SOURCES = %D%/test-policy.c
%C%_test_policy_CFLAGS = $(UNIT_CFLAGS)
%C%_test_policy_LDADD = fetchd/libfetchd.a $(UNIT_LIBS) -lm

%C%_test_config_SOURCES = %D%/test-config.c
%C%_test_config_CFLAGS = $(UNIT_CFLAGS)
%C%_test_config_LDADD = $(UNIT_LIBS)

%C%_test_dial_SOURCES = %D%/test-dial.c
%C%_test_dial_CFLAGS = $(UNIT_CFLAGS)
%C%_test_dial_LDADD = $(UNIT_LIBS)

%C%_test_control_SOURCES = %D%/test-control.c
%C%_test_control_CFLAGS = $(UNIT_CFLAGS)
%C%_test_control_LDADD = $(UNIT_LIBS)

%C%_test_fuse_node_SOURCES = %D%/test-fuse-node.c
%C%_test_fuse_node_CFLAGS = $(UNIT_CFLAGS)
%C%_test_fuse_node_LDADD = $(FUSE_FRONTEND_LIBS) $(UNIT_LIBS)

%C%_test_oci_SOURCES = %D%/test-oci.c
%C%_test_oci_CFLAGS = $(UNIT_CFLAGS)
%C%_test_oci_LDADD = $(UNIT_LIBS)

%C%_test_follower_SOURCES = %D%/test-follower.c
%C%_test_follower_CFLAGS = $(UNIT_CFLAGS)
%C%_test_follower_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_verified_SOURCES = %D%/test-verified.c
%C%_test_verified_CFLAGS = $(UNIT_CFLAGS)
%C%_test_verified_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)
%C%_test_hot_SOURCES = %D%/test-hot.c
%C%_test_hot_CFLAGS = $(UNIT_CFLAGS)
%C%_test_hot_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_index_SOURCES = %D%/test-index.c
%C%_test_index_CFLAGS = $(UNIT_CFLAGS)
%C%_test_index_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)
%C%_test_quota_SOURCES = %D%/test-quota.c
%C%_test_quota_CFLAGS = $(UNIT_CFLAGS)
%C%_test_quota_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)
%C%_test_pack_SOURCES = %D%/test-pack.c
%C%_test_pack_CFLAGS = $(UNIT_CFLAGS)
%C%_test_pack_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_range_SOURCES = %D%/test-range.c
%C%_test_range_CFLAGS = $(UNIT_CFLAGS)
%C%_test_range_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_route_SOURCES = %D%/test-route.c
%C%_test_route_CFLAGS = $(UNIT_CFLAGS)
%C%_test_route_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_gc_SOURCES = %D%/test-gc.c
%C%_test_gc_CFLAGS = $(UNIT_CFLAGS)
%C%_test_gc_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)
%C%_test_store_SOURCES = %D%/test-store.c
%C%_test_store_CFLAGS = $(UNIT_CFLAGS)
%C%_test_store_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_stub_SOURCES = %D%/test-stub.c
%C%_test_stub_CFLAGS = $(UNIT_CFLAGS)
%C%_test_stub_LDADD = $(UNIT_LIBS)

%C%_test_auth_SOURCES = %D%/test-auth.c
%C%_test_auth_CFLAGS = $(UNIT_CFLAGS)
%C%_test_auth_LDADD = $(UNIT_LIBS)

%C%_test_challenge_SOURCES = %D%/test-challenge.c
%C%_test_challenge_CFLAGS = $(UNIT_CFLAGS)
%C%_test_challenge_LDADD = $(UNIT_LIBS)

%C%_test_origin_SOURCES = %D%/test-origin.c
%C%_test_origin_CFLAGS = $(UNIT_CFLAGS)
%C%_test_origin_LDADD = $(UNIT_LIBS)

# These talk to tests/lib/badserver.py.
bad_sources = %D%/badserver.c %D%/badserver.h %D%/fixture.c %D%/fixture.h

%C%_test_blob_SOURCES = %D%/test-blob.c $(bad_sources)
%C%_test_blob_CFLAGS = $(UNIT_CFLAGS)
%C%_test_blob_LDADD = $(UNIT_LIBS)

%C%_test_fetch_SOURCES = %D%/test-fetch.c $(bad_sources)
%C%_test_fetch_CFLAGS = $(UNIT_CFLAGS)
%C%_test_fetch_LDADD = $(UNIT_LIBS)

%C%_test_registry_SOURCES = %D%/test-registry.c $(bad_sources)
%C%_test_registry_CFLAGS = $(UNIT_CFLAGS)
%C%_test_registry_LDADD = $(UNIT_LIBS)

TAR_FIXTURE = %D%/maketar.c %D%/maketar.h %D%/roundtrip.c %D%/roundtrip.h

%C%_test_tarstream_SOURCES = %D%/test-tarstream.c $(TAR_FIXTURE)
%C%_test_tarstream_CFLAGS = $(UNIT_CFLAGS)
%C%_test_tarstream_LDADD = $(UNIT_LIBS)

%C%_test_thin_SOURCES = %D%/test-thin.c $(TAR_FIXTURE)
%C%_test_thin_CFLAGS = $(UNIT_CFLAGS)
%C%_test_thin_LDADD = $(UNIT_LIBS)

%C%_test_compress_SOURCES = %D%/test-compress.c $(TAR_FIXTURE)
%C%_test_compress_CFLAGS = $(UNIT_CFLAGS)
%C%_test_compress_LDADD = $(UNIT_LIBS)

%C%_test_layout_SOURCES = %D%/test-layout.c
%C%_test_layout_CFLAGS = $(UNIT_CFLAGS)
%C%_test_layout_LDADD = $(UNIT_LIBS)

%C%_test_pool_SOURCES = %D%/test-pool.c
%C%_test_pool_CFLAGS = $(UNIT_CFLAGS)
%C%_test_pool_LDADD = $(UNIT_LIBS)
endif
