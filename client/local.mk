# client: the front ends and the commands over them.
noinst_LIBRARIES += %D%/libfusefrontend.a

%C%_libfusefrontend_a_SOURCES = \
	%D%/fuse.c %D%/fuse.h \
	%D%/fuse-dir.c \
	%D%/fuse-file.c %D%/fuse-file.h \
	%D%/fuse-miss.c %D%/fuse-miss.h \
	%D%/fuse-node.c %D%/fuse-node.h \
	%D%/fuse-ops.c %D%/fuse-ops.h \
	%D%/fuse-passthrough.c %D%/fuse-passthrough.h \
	%D%/fuse-version.h
%C%_libfusefrontend_a_CFLAGS = $(AM_CFLAGS) $(FUSE_CFLAGS)

FUSE_FRONTEND_LIBS = %D%/libfusefrontend.a $(FUSE_LIBS)

# The client. libclient.a is everything but main(), so that tests can link it.
noinst_LIBRARIES += %D%/libclient.a
bin_PROGRAMS += intinode

%C%_libclient_a_SOURCES = \
	%D%/blobs.c %D%/blobs.h \
	%D%/cachecmd.c \
	%D%/commands.h \
	%D%/contents.c %D%/contents.h \
	%D%/convert.c \
	%D%/dirimage.c \
	%D%/dirsource.c %D%/dirsource.h \
	%D%/names.c %D%/names.h \
	%D%/options.c %D%/options.h \
	%D%/progress.c %D%/progress.h \
	%D%/stubcmd.c \
	%D%/why.c \
	%D%/thinimage.c %D%/thinimage.h \
	%D%/thinlayer.c %D%/thinlayer.h \
	%D%/thinmanifest.c %D%/thinmanifest.h \
	%D%/thicken.c \
	%D%/thicklayer.c %D%/thicklayer.h \
	%D%/thickqueue.c %D%/thickqueue.h \
	%D%/thinref.c %D%/thinref.h \
	%D%/bringup.c %D%/bringup.h \
	%D%/dirtwin.c %D%/dirtwin.h \
	%D%/frontend.c %D%/frontend.h \
	%D%/mountpoint.c %D%/mountpoint.h \
	%D%/host.c %D%/host.h \
	%D%/layers.c %D%/layers.h \
	%D%/prefetch.c \
	%D%/prepare.c %D%/prepare.h \
	%D%/tree.c %D%/tree.h %D%/tree-internal.h \
	%D%/tree-content.c \
	%D%/tree-lower.c \
	%D%/tree-memory.c \
	%D%/tree-metadata.c \
	%D%/tree-stub.c \
	%D%/tree-whiteout.c \
	%D%/unpack.c %D%/unpack.h \
	%D%/mount.c \
	%D%/overlay.c \
	%D%/status.c \
	%D%/thinscan.c %D%/thinscan.h \
	%D%/uploader.c %D%/uploader.h \
	%D%/verify.c \
	%D%/verifylocal.c %D%/verifylocal.h

intinode_SOURCES = %D%/main.c
LIBCLIENT = %D%/libclient.a
intinode_LDADD = $(LIBCLIENT) $(FUSE_FRONTEND_LIBS) $(LIBINTINODE_LIBS) $(ACL_LIBS)
