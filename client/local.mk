# client: the front ends and the commands over them.
noinst_LIBRARIES += %D%/libfusefrontend.a

%C%_libfusefrontend_a_SOURCES = \
	%D%/fuse.c %D%/fuse.h \
	%D%/fuse-dir.c \
	%D%/fuse-file.c %D%/fuse-file.h \
	%D%/fuse-miss.c %D%/fuse-miss.h \
	%D%/fuse-node.c %D%/fuse-node.h \
	%D%/fuse-ops.c %D%/fuse-ops.h \
	%D%/fuse-version.h
%C%_libfusefrontend_a_CFLAGS = $(AM_CFLAGS) $(FUSE_CFLAGS)

FUSE_FRONTEND_LIBS = %D%/libfusefrontend.a $(FUSE_LIBS)
